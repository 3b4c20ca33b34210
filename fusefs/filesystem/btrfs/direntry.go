package btrfs

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// dirEntry is a name in a directory, or an extended attribute ([format], "DIR_ITEM").
type dirEntry struct {
	location key
	kind     uint8
	name     []byte
	value    []byte // of an attribute
	size     int    // of all this in the item
}

const (
	dirEntryHeader    = 30
	dirEntryEncrypted = 0x80
	maxName           = 255
)

// dirEntryModes are the file types of directory entries.
var dirEntryModes = [...]uint32{1: unix.S_IFREG, 2: unix.S_IFDIR, 3: unix.S_IFCHR, 4: unix.S_IFBLK,
	5: unix.S_IFIFO, 6: unix.S_IFSOCK, 7: unix.S_IFLNK}

// parseDirEntry reads the first entry of b, of which there may be more: names with the same
// hash share an item.
func parseDirEntry(b []byte) (dirEntry, error) {
	if len(b) < dirEntryHeader {
		return dirEntry{}, corrupt("a directory entry of %d bytes", len(b))
	}
	value, name := int(le.Uint16(b[25:])), int(le.Uint16(b[27:]))
	e := dirEntry{location: parseKey(b), kind: b[29], size: dirEntryHeader + name + value}
	if e.size > len(b) || name == 0 || name > maxName {
		return dirEntry{}, corrupt("a directory entry of %d bytes, with %d of name and %d of value", len(b), name, value)
	}
	e.name = b[dirEntryHeader : dirEntryHeader+name]
	e.value = b[dirEntryHeader+name : e.size]
	return e, nil
}

// checkName refuses what can be the name of an attribute, but not of a file.
func (e dirEntry) checkName() error {
	if name := string(e.name); name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return corrupt("the name %q", name)
	}
	return nil
}

func (e dirEntry) mode() uint32 {
	if kind := e.kind &^ dirEntryEncrypted; int(kind) < len(dirEntryModes) {
		return dirEntryModes[kind]
	}
	return 0
}

// findEntry looks for a name among the entries of an item.
func findEntry(item []byte, name string) (dirEntry, bool, error) {
	for len(item) > 0 {
		e, err := parseDirEntry(item)
		if err != nil {
			return dirEntry{}, false, err
		}
		if string(e.name) == name {
			return e, true, nil
		}
		item = item[e.size:]
	}
	return dirEntry{}, false, nil
}

// findName returns the entry of a directory, or the attribute of a file, under its name.
func (t *tree) findName(object uint64, kind uint8, name string) (dirEntry, error) {
	item, ok, err := t.get(key{object, kind, nameHash(name)})
	if err != nil {
		return dirEntry{}, err
	}
	if ok {
		var e dirEntry
		if e, ok, err = findEntry(item, name); err != nil {
			return dirEntry{}, fmt.Errorf("inode %d of tree %d: %w", object, t.id, err)
		}
		if ok {
			return e, nil
		}
	}
	return dirEntry{}, fmt.Errorf("%q: %w", name, filesystem.ErrNotExist)
}

// encodeDirEntry is the opposite of parseDirEntry.
func encodeDirEntry(location key, kind uint8, name string) []byte {
	b := le.AppendUint64(nil, location.object)
	b = append(b, location.kind)
	b = le.AppendUint64(b, location.offset)
	b = le.AppendUint64(b, 0) // the transaction, which nothing reads
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(len(name)))
	return append(append(b, kind), name...)
}
