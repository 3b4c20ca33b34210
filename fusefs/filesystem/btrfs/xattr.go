package btrfs

import (
	"bytes"
	"fmt"

	"vmsync/fusefs/filesystem"
)

// Bounds of one file's attributes. listxattr(2) cannot return more than 64 KiB of names.
const (
	maxXattrNames  = 64 << 10
	maxXattrValues = 4 << 20
)

// Xattrs implements filesystem.FS.
func (r *reader) Xattrs(id filesystem.ID) (map[string][]byte, error) {
	f, t, _, err := r.file(id)
	if err != nil {
		return nil, err
	}
	xattrs := map[string][]byte{}
	if f.stub {
		return xattrs, nil
	}
	names, values := 0, 0
	c, err := t.seek(key{f.inode, kindXattr, 0})
	for ; err == nil && c.in(f.inode, kindXattr); err = c.next() {
		for item := c.item; len(item) > 0; {
			e, err := parseDirEntry(item)
			if err != nil {
				return nil, fmt.Errorf("attributes of inode %d of subvolume %d: %w", f.inode, f.tree, err)
			}
			item = item[e.size:]
			names, values = names+len(e.name)+1, values+len(e.value)
			if names > maxXattrNames || values > maxXattrValues {
				return nil, unsupported("attributes of inode %d of subvolume %d: more than %d bytes of names or %d of values",
					f.inode, f.tree, maxXattrNames, maxXattrValues)
			}
			xattrs[string(e.name)] = bytes.Clone(e.value)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attributes of inode %d of subvolume %d: %w", f.inode, f.tree, err)
	}
	return xattrs, nil
}
