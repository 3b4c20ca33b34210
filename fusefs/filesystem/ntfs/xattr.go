package ntfs

import (
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/utf16le"
)

// Bounds of the named streams that are shown as extended attributes: what Linux allows of
// one, and what a file may have in all.
const (
	maxXattr      = 64 << 10
	maxXattrBytes = 1 << 20
	maxXattrs     = 1000
)

// Xattrs implements filesystem.FS. Streams that are larger, or cannot be read, are left out.
func (v *volume) Xattrs(id filesystem.ID) (map[string][]byte, error) {
	r, err := v.file(id)
	if err != nil {
		return nil, err
	}
	var names [][]byte
	total := int64(0)
	err = v.each(r, func(a *attribute) bool {
		if len(a.name) > 0 && a.size <= maxXattr && total+a.size <= maxXattrBytes {
			total += a.size
			names = append(names, a.name)
		}
		return len(names) < maxXattrs
	}, typeData)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	xattrs := make(map[string][]byte, len(names))
	for _, name := range names {
		s, err := v.stream(r, typeData, name)
		if err != nil {
			return nil, err
		}
		if s == nil || s.readable() != nil {
			continue
		}
		value := make([]byte, s.Size())
		if _, err := s.read(value, 0); err != nil {
			return nil, err
		}
		xattrs["user."+utf16le.Decode(name)] = value
	}
	return xattrs, nil
}
