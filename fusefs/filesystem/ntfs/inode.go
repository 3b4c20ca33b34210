package ntfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// An inode is what a file's attributes say of it.
type inode struct {
	attr   filesystem.Attr
	target string // of a symbolic link
	// refused is why the content of a regular file cannot be read.
	refused error
}

const permissions = 0o777

// inode reads the attributes of a file.
func (v *volume) inode(id filesystem.ID) (inode, error) {
	r, err := v.file(id)
	if err != nil {
		return inode{}, err
	}
	n := inode{attr: filesystem.Attr{Mode: unix.S_IFREG | permissions}}
	var flags uint32
	var isReparse bool
	err = v.each(r, func(a *attribute) bool {
		switch {
		case a.kind == typeStandard && len(a.value) >= 36:
			le := binary.LittleEndian
			n.attr.Btime, n.attr.Mtime = stamp(le.Uint64(a.value)), stamp(le.Uint64(a.value[8:]))
			n.attr.Ctime, n.attr.Atime = stamp(le.Uint64(a.value[16:])), stamp(le.Uint64(a.value[24:]))
			flags = le.Uint32(a.value[32:])
		case a.kind == typeFileName && len(a.value) >= 66 && a.value[65] != namespaceDOS:
			n.attr.Links++
		case a.kind == typeReparse:
			isReparse = true
		case a.kind == typeData && len(a.name) == 0:
			n.attr.Size, n.attr.Blocks = a.size, blocks(a)
		}
		return true
	}, typeStandard, typeFileName, typeData, typeReparse)
	if err != nil {
		return inode{}, err
	}
	switch {
	case isReparse:
		err = v.reparse(r, &n, flags)
	case r.flags()&recordDir != 0:
		err = v.makeDir(id, &n)
	case flags&fileSystem != 0 && n.attr.Size >= minInterix && n.attr.Size <= maxInterix:
		err = v.interix(r, &n)
	}
	if err != nil {
		return inode{}, err
	}
	return n, nil
}

// makeDir adds what is particular to directories: they have the size of their blocks, which
// is none while all names fit into the record.
func (v *volume) makeDir(id filesystem.ID, n *inode) error {
	dir, err := v.directory(id)
	if err != nil {
		return err
	}
	n.attr.Mode, n.attr.Links = unix.S_IFDIR|permissions, 1
	n.attr.Size, n.attr.Blocks = 0, 0
	if dir.blocks != nil {
		n.attr.Size, n.attr.Blocks = dir.blocks.Size(), dir.blocks.first.allocated/512
	}
	return nil
}

// blocks is what an attribute takes on the disk, in units of 512 bytes.
func blocks(a *attribute) int64 {
	if a.resident {
		return (int64(len(a.value)) + 511) / 512
	}
	return min(a.allocated, math.MaxInt64-511+1) / 512
}

// stamp is a time in units of 100 ns since 1601.
func stamp(t uint64) time.Time {
	const toUnix = 11644473600
	ticks := int64(t)
	return time.Unix(ticks/1e7-toUnix, ticks%1e7*100)
}

// Stat implements filesystem.FS.
func (v *volume) Stat(id filesystem.ID) (filesystem.Attr, error) {
	n, err := v.inode(id)
	return n.attr, err
}

// Readlink implements filesystem.FS.
func (v *volume) Readlink(id filesystem.ID) (string, error) {
	n, err := v.inode(id)
	if err != nil {
		return "", err
	}
	if n.attr.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", fmt.Errorf("file %d is no symbolic link: %w", reference(id).number(), filesystem.ErrInvalid)
	}
	return n.target, nil
}

// Open implements filesystem.FS.
func (v *volume) Open(id filesystem.ID) (filesystem.File, error) {
	n, err := v.inode(id)
	if err != nil {
		return nil, err
	}
	switch number := reference(id).number(); n.attr.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return nil, fmt.Errorf("file %d: %w", number, filesystem.ErrIsDir)
	default:
		return nil, fmt.Errorf("file %d is no regular file: %w", number, filesystem.ErrInvalid)
	}
	if n.refused != nil {
		return nil, n.refused
	}
	r, err := v.file(id)
	if err != nil {
		return nil, err
	}
	s, err := v.stream(r, typeData, nil)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return &stream{volume: v, number: r.number, first: attribute{resident: true}}, nil
	}
	if err := s.readable(); err != nil {
		return nil, err
	}
	return s, nil
}
