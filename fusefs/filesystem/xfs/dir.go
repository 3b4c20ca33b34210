package xfs

import (
	"bytes"
	"fmt"
	"iter"
	"math/bits"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// leafSpace is the byte of a directory's fork at which its index by hash begins; entries
// are before it.
const leafSpace = 1 << 35

// fileTypes are the S_IFMT bits of the types that directory entries tell.
var fileTypes = [...]uint32{1: unix.S_IFREG, 2: unix.S_IFDIR, 3: unix.S_IFCHR, 4: unix.S_IFBLK,
	5: unix.S_IFIFO, 6: unix.S_IFSOCK, 7: unix.S_IFLNK}

func (f *fsys) directory(id filesystem.ID) (*inode, error) {
	i, err := f.inode(id)
	if err != nil {
		return nil, err
	}
	if !i.isDir() {
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrNotDir)
	}
	return i, nil
}

// Lookup implements filesystem.FS.
func (f *fsys) Lookup(dir filesystem.ID, name string) (filesystem.ID, error) {
	i, err := f.directory(dir)
	if err != nil {
		return 0, err
	}
	found := filesystem.ID(0)
	if name != "" && name != "." && name != ".." && len(name) <= 255 {
		if i.data.format == formatLocal {
			found, err = f.lookupShort(i, name)
		} else {
			found, err = f.lookupHashed(i, name)
		}
		if err != nil {
			return 0, err
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("%q in directory %d: %w", name, dir, filesystem.ErrNotExist)
	}
	return found, nil
}

// ReadDir implements filesystem.FS.
func (f *fsys) ReadDir(dir filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		i, err := f.directory(dir)
		if err == nil && i.data.format == formatLocal {
			err = f.walkShort(i, func(e dirEntry) bool { return f.yieldEntry(i, e, yield) })
		} else if err == nil {
			err = f.walkBlocks(i, func(e dirEntry) bool { return f.yieldEntry(i, e, yield) })
		}
		if err != nil {
			yield(filesystem.Entry{}, err)
		}
	}
}

// dirEntry is an entry of a directory where it was found.
type dirEntry struct {
	name  []byte
	inode uint64
	kind  byte
}

// yieldEntry hands out an entry, and says whether to go on.
func (f *fsys) yieldEntry(i *inode, e dirEntry, yield func(filesystem.Entry, error) bool) bool {
	if string(e.name) == "." || string(e.name) == ".." {
		return true
	}
	if e.inode == 0 || bytes.ContainsAny(e.name, "/\x00") {
		yield(filesystem.Entry{}, corrupt("directory %d has an entry %q of inode %d", i.number, e.name, e.inode))
		return false
	}
	entry := filesystem.Entry{Name: string(e.name), ID: filesystem.ID(e.inode)}
	if int(e.kind) < len(fileTypes) {
		entry.Mode = fileTypes[e.kind]
	}
	return yield(entry, nil)
}

// sameName compares as the filesystem does.
func (f *fsys) sameName(on []byte, name string) bool {
	if !f.sb.asciiCI || len(on) != len(name) {
		return string(on) == name
	}
	for i := range on {
		if lower(on[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

// lower is what mkfs.xfs -n version=ci makes of a byte: lower case in ISO 8859-1.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xd6 || c >= 0xd8 && c <= 0xde {
		return c + 'a' - 'A'
	}
	return c
}

// hashName is the hash that directories and attribute forks are sorted by.
func hashName[T string | []byte](name T) uint32 {
	var hash uint32
	i := 0
	for ; len(name)-i >= 4; i += 4 {
		hash = uint32(name[i])<<21 ^ uint32(name[i+1])<<14 ^ uint32(name[i+2])<<7 ^ uint32(name[i+3]) ^ bits.RotateLeft32(hash, 28)
	}
	switch len(name) - i {
	case 3:
		return uint32(name[i])<<14 ^ uint32(name[i+1])<<7 ^ uint32(name[i+2]) ^ bits.RotateLeft32(hash, 21)
	case 2:
		return uint32(name[i])<<7 ^ uint32(name[i+1]) ^ bits.RotateLeft32(hash, 14)
	case 1:
		return uint32(name[i]) ^ bits.RotateLeft32(hash, 7)
	}
	return hash
}

// hashNameCI is the hash of filesystems that do not tell upper from lower case.
func hashNameCI(name string) uint32 {
	var hash uint32
	for i := range len(name) {
		hash = uint32(lower(name[i])) ^ bits.RotateLeft32(hash, 7)
	}
	return hash
}
