package ntfs

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem/internal/utf16le"
)

// Tags of reparse points, section 2.1.2.1 of MS-FSCC.
const (
	tagMountPoint = 0xa0000003
	tagSymlink    = 0xa000000c
	tagDedup      = 0x80000013
	tagWOF        = 0x80000017
	tagAppExec    = 0x8000001b
	tagLXSymlink  = 0xa000001d
	tagUnixSocket = 0x80000023
	tagLXFifo     = 0x80000024

	// Files of cloud storage have 16 tags that differ in the middle.
	tagCloud     = 0x9000001a
	tagCloudMask = 0xffff0fff

	maxReparse = 16 << 10
)

// reparse makes n what the file's reparse point says that it is.
func (v *volume) reparse(r *record, n *inode, flags uint32) error {
	s, err := v.stream(r, typeReparse, nil)
	if err != nil {
		return err
	}
	if s == nil || s.Size() < 8 || s.Size() > maxReparse {
		return corruptRecord(r.number, corrupt("its reparse point"))
	}
	b := make([]byte, s.Size())
	if _, err := s.read(b, 0); err != nil {
		return err
	}
	tag, b := binary.LittleEndian.Uint32(b), b[8:]
	isDir := r.flags()&recordDir != 0
	switch tag {
	case tagSymlink:
		return n.link(r, b, 12)
	case tagMountPoint:
		return n.link(r, b, 8)
	case tagLXSymlink:
		if len(b) < 4 {
			return corruptRecord(r.number, corrupt("its symbolic link"))
		}
		n.setLink(string(b[4:]))
	case tagUnixSocket:
		n.special(unix.S_IFSOCK)
	case tagLXFifo:
		n.special(unix.S_IFIFO)
	default:
		if isDir {
			return v.makeDir(filesystemID(r), n)
		}
		n.refused = refuse(r.number, tag, n.attr.Size, flags)
	}
	return nil
}

// refuse tells why the data of a file with a reparse point is not what a guest would read.
func refuse(number uint64, tag uint32, size int64, flags uint32) error {
	switch {
	case tag == tagWOF:
		return unsupported("file %d is compressed by Windows (WOF)", number)
	case tag == tagDedup:
		return unsupported("file %d is deduplicated", number)
	case tag&tagCloudMask == tagCloud && flags&(fileOffline|fileRecall) == 0, tag == tagAppExec, size == 0:
		return nil
	default:
		return unsupported("file %d has a reparse point of kind 0x%x", number, tag)
	}
}

// link reads the target of a symbolic link or mount point: it lies after a header.
func (n *inode) link(r *record, b []byte, header int64) error {
	if int64(len(b)) < header {
		return corruptRecord(r.number, corrupt("its symbolic link"))
	}
	at, length := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint16(b[2:]))
	raw, err := part(b, header+at, length)
	if err != nil {
		return corruptRecord(r.number, err)
	}
	target := strings.TrimPrefix(utf16le.DecodeText(raw), `\??\`)
	n.setLink(strings.ReplaceAll(target, `\`, "/"))
	return nil
}

func (n *inode) setLink(target string) {
	// What follows a NUL could not be told.
	target, _, _ = strings.Cut(target, "\x00")
	n.special(unix.S_IFLNK)
	n.target, n.attr.Size = target, int64(len(target))
}

// special makes n something that has no data.
func (n *inode) special(kind uint32) {
	n.attr.Mode, n.attr.Size, n.attr.Blocks = kind|permissions, 0, 0
	n.attr.Links = max(n.attr.Links, 1)
}
