package ext

import (
	"bytes"

	"golang.org/x/sys/unix"
)

const (
	entryHeader = 8  // inode, length of the entry, length of the name, kind
	entryLeast  = 12 // an entry's least length; that of "." and of the checksum
)

// entry is struct ext4_dir_entry_2. Its name is part of a shared block.
type entry struct {
	inode uint32
	kind  byte
	name  []byte
}

// hidden tells what is no name of a file: free space, and the links to the directory
// itself and its parent.
func (e entry) hidden() bool {
	return e.inode == 0 || string(e.name) == "." || string(e.name) == ".."
}

// mode returns the S_IFMT bits, 0 where the directory does not say.
func (e entry) mode(sb *superblock) uint32 {
	kinds := [...]uint32{0, unix.S_IFREG, unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFLNK}
	if !sb.has(incompatFiletype) || int(e.kind) >= len(kinds) {
		return 0
	}
	return kinds[e.kind]
}

// entryLength decodes an entry's length, for which 16 bits do not suffice in blocks of 64 KiB.
func entryLength(raw uint16, blockSize int64) int {
	if blockSize < 1<<16 {
		return int(raw)
	}
	if raw == 0 || raw == 1<<16-1 {
		return int(blockSize)
	}
	return int(raw)&^3 | int(raw)&3<<16
}

// entryAt decodes the entry at off of b, and returns where the next one is.
func (r *reader) entryAt(i *inode, b []byte, off int) (entry, int, error) {
	left := len(b) - off
	if left < entryLeast {
		return entry{}, 0, corrupt("directory %d has an entry without room", i.number)
	}
	raw := b[off:]
	length, name := entryLength(le.Uint16(raw[4:]), r.sb.blockSize), int(raw[6])
	if length < entryLeast || length%4 != 0 || length > left || entryHeader+name > length {
		return entry{}, 0, corrupt("directory %d has an entry of %d bytes with a name of %d", i.number, length, name)
	}
	e := entry{inode: le.Uint32(raw), kind: raw[7], name: raw[entryHeader:][:name]}
	if e.inode > r.sb.inodes {
		return entry{}, 0, corrupt("directory %d names inode %d of %d", i.number, e.inode, r.sb.inodes)
	}
	if e.inode != 0 && (name == 0 || bytes.IndexByte(e.name, '/') >= 0 || bytes.IndexByte(e.name, 0) >= 0) {
		return entry{}, 0, corrupt("directory %d holds the name %q", i.number, e.name)
	}
	return e, off + length, nil
}

// entries calls yield with the files named in b, until it returns false; entries then
// does, too.
func (r *reader) entries(i *inode, b []byte, yield func(entry) bool) (bool, error) {
	for off := 0; off < len(b); {
		e, next, err := r.entryAt(i, b, off)
		if err != nil {
			return false, err
		}
		if !e.hidden() && !yield(e) {
			return false, nil
		}
		off = next
	}
	return true, nil
}

// dirBlock returns a block of a directory, nil for a hole.
func (r *reader) dirBlock(i *inode, block uint64) ([]byte, error) {
	found, err := r.runAt(i, block)
	if err != nil || !found.data {
		return nil, err
	}
	return r.dirBlockAt(i, block, found.place+block-found.first)
}

func (r *reader) dirBlockAt(i *inode, block, place uint64) ([]byte, error) {
	return r.block(blockKey{place, i.number}, func(b []byte) error { return r.checkDirBlock(i, block, b) })
}

// indexed tells whether a directory has an index in its blocks.
func (r *reader) indexed(i *inode) bool { return r.sb.compat&compatDirIndex != 0 && i.has(flagIndex) }

// checkDirBlock verifies a block's checksum. It is in the last entry, which is none; in
// a block of the index, behind the room for the index.
func (r *reader) checkDirBlock(i *inode, block uint64, b []byte) error {
	if !r.sb.checksums() {
		return nil
	}
	var want, have uint32
	if r.indexed(i) && (block == 0 || entryLength(le.Uint16(b[4:]), r.sb.blockSize) == len(b)) {
		start := indexStart(block)
		limit, count := int(le.Uint16(b[start:])), int(le.Uint16(b[start+2:]))
		tail := start + indexEntry*limit
		if count > limit || tail+8 > len(b) {
			return corrupt("directory %d has a broken index in block %d", i.number, block)
		}
		want = checksum(i.seed, b[:start+indexEntry*count])
		want = checksum(checksum(want, b[tail:tail+4]), []byte{0, 0, 0, 0})
		have = le.Uint32(b[tail+4:])
	} else {
		tail := b[len(b)-entryLeast:]
		if le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != entryLeast || tail[6] != 0 || tail[7] != 0xDE {
			return corrupt("block %d of directory %d has no checksum", block, i.number)
		}
		want, have = checksum(i.seed, b[:len(b)-entryLeast]), le.Uint32(tail[8:])
	}
	if want != have {
		return corrupt("the checksum of block %d of directory %d is wrong", block, i.number)
	}
	return nil
}
