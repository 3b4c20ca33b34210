package ext

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

const pathMax = 4096

// target returns what a symbolic link points to.
func (r *reader) target(i *inode) (string, error) {
	if !i.is(unix.S_IFLNK) {
		return "", fmt.Errorf("inode %d: %w", i.number, filesystem.ErrInvalid)
	}
	if err := i.readable(); err != nil {
		return "", err
	}
	if i.size <= 0 || i.size > pathMax {
		return "", corrupt("symbolic link %d of %d bytes", i.number, i.size)
	}
	var b []byte
	var err error
	switch {
	case i.has(flagInlineData):
		b, err = r.inlineData(i)
	case r.fastLink(i):
		b = i.blockMap[:min(i.size, int64(len(i.blockMap)))]
	default:
		b = make([]byte, i.size)
		_, err = (&file{r: r, inode: i}).ReadAt(b, 0)
	}
	if err != nil {
		return "", err
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), nil
}

// fastLink tells whether a link's target lies in i_block: it then has no blocks of its
// own. With attributes in inodes, which count as its blocks, the size has to tell.
func (r *reader) fastLink(i *inode) bool {
	if r.sb.has(incompatEAInode) {
		return i.size < int64(len(i.blockMap))
	}
	own := i.sectors
	if i.xattrBlock != 0 {
		own -= r.sb.blockSize * int64(r.sb.clusterBlocks) >> 9
	}
	return own == 0
}
