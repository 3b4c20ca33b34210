package ext

import (
	"vmsync/fusefs/filesystem"
)

// walk calls yield with every file that a directory names, in the order of its blocks,
// until it returns false. The blocks of an index look like blocks without names.
func (r *reader) walk(i *inode, yield func(entry) bool) error {
	if i.has(flagInlineData) {
		return r.walkInline(i, yield)
	}
	end := uint64(i.size) >> r.sb.blockBits
	seen := uint64(0)
	for block := uint64(0); block < end; {
		found, err := r.runAt(i, block)
		if err != nil {
			return err
		}
		if !found.data {
			block = found.end()
			continue
		}
		for ; block < min(end, found.end()); block++ {
			if seen++; seen > r.sb.blocks {
				return corrupt("directory %d has more blocks than the filesystem", i.number)
			}
			b, err := r.dirBlockAt(i, block, found.place+block-found.first)
			if err != nil {
				return err
			}
			if more, err := r.entries(i, b, yield); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// walkInline walks a directory that lies in its inode: the number of its parent, and two
// areas of entries.
func (r *reader) walkInline(i *inode, yield func(entry) bool) error {
	data, err := r.inlineData(i)
	if err != nil {
		return err
	}
	first := min(len(data), len(i.blockMap))
	if first < 4 {
		return corrupt("directory %d has %d bytes", i.number, len(data))
	}
	more, err := r.entries(i, data[4:first], yield)
	if err == nil && more {
		_, err = r.entries(i, data[first:], yield)
	}
	return err
}

// find returns the inode that a directory holds under a name, by reading all of it.
func (r *reader) find(i *inode, name string) (filesystem.ID, error) {
	var found uint32
	err := r.walk(i, func(e entry) bool {
		if string(e.name) == name {
			found = e.inode
		}
		return found == 0
	})
	if err != nil {
		return 0, err
	}
	if found == 0 {
		return 0, filesystem.ErrNotExist
	}
	return filesystem.ID(found), nil
}
