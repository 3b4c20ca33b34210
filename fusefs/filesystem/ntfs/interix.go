package ntfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/utf16le"
)

// Symbolic links and device nodes as ntfs-3g makes them are system files that begin with
// one of these, as the Unix subsystem of Windows (Interix) had it. It had sockets and
// pipes as well, which are system files of 1 and 0 bytes; but so are many ordinary ones.
const (
	interixLink  = "IntxLNK\x01"
	interixChar  = "IntxCHR\x00"
	interixBlock = "IntxBLK\x00"

	minInterix = 8
	maxInterix = 8 + 2*4096
)

// interix makes n what its content says that it is.
func (v *volume) interix(r *record, n *inode) error {
	s, err := v.stream(r, typeData, nil)
	if err != nil || s == nil || s.readable() != nil {
		return err
	}
	b := make([]byte, s.Size())
	if _, err := s.read(b, 0); err != nil {
		return err
	}
	blocks := n.attr.Blocks
	switch magic, rest := string(b[:8]), b[8:]; {
	case magic == interixLink:
		n.setLink(utf16le.DecodeText(rest))
	case magic == interixChar && len(rest) == 16:
		n.device(unix.S_IFCHR, rest)
	case magic == interixBlock && len(rest) == 16:
		n.device(unix.S_IFBLK, rest)
	}
	n.attr.Blocks = blocks
	return nil
}

func (n *inode) device(kind uint32, numbers []byte) {
	le := binary.LittleEndian
	size := n.attr.Size
	n.special(kind)
	n.attr.Size = size
	n.attr.Rdev = unix.Mkdev(uint32(le.Uint64(numbers)), uint32(le.Uint64(numbers[8:])))
}

func filesystemID(r *record) filesystem.ID { return filesystem.ID(r.reference()) }
