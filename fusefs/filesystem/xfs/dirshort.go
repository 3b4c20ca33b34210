package xfs

import "vmsync/fusefs/filesystem"

// walkShort goes through a directory that is in its inode: count, count of inode numbers
// of 8 bytes, the parent, then the entries. It ends early where visit returns false.
func (f *fsys) walkShort(i *inode, visit func(dirEntry) bool) error {
	b := i.data.raw
	if i.size() < uint64(len(b)) {
		b = b[:i.size()]
	}
	if len(b) < 6 {
		return corrupt("directory %d", i.number)
	}
	count, number := int(b[0]), 4
	if b[1] != 0 {
		number = 8
	}
	kind := 0
	if f.sb.fileTypes {
		kind = 1
	}
	at := 2 + number
	for range count {
		// Length of the name, a tag of 2 bytes, name, kind, inode number.
		const fixed = 3
		if at+fixed > len(b) {
			return corrupt("directory %d ends early", i.number)
		}
		length := int(b[at])
		end := at + fixed + length + kind + number
		if length == 0 || end > len(b) {
			return corrupt("directory %d has an entry that is too long", i.number)
		}
		e := dirEntry{name: b[at+fixed : at+fixed+length]}
		if f.sb.fileTypes {
			e.kind = b[at+fixed+length]
		}
		if number == 8 {
			e.inode = be.Uint64(b[end-8:])
		} else {
			e.inode = uint64(be.Uint32(b[end-4:]))
		}
		if !visit(e) {
			return nil
		}
		at = end
	}
	return nil
}

func (f *fsys) lookupShort(i *inode, name string) (filesystem.ID, error) {
	var found filesystem.ID
	err := f.walkShort(i, func(e dirEntry) bool {
		if f.sameName(e.name, name) {
			found = filesystem.ID(e.inode)
		}
		return found == 0
	})
	return found, err
}
