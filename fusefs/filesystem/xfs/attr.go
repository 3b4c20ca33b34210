package xfs

import (
	"encoding/binary"

	"vmsync/fusefs/filesystem"
)

// Flags of attributes: where the value is, and the namespace.
const (
	attrLocal      = 1 << 0
	attrRoot       = 1 << 1
	attrSecure     = 1 << 2
	attrParent     = 1 << 3 // the names of a file, which are no attributes
	attrIncomplete = 1 << 7 // the value was not written yet
)

const (
	maxValue = 1 << 16
	// maxXattrs bounds the names and values of a file in all, in bytes: listxattr(2)
	// gives no more than 2^16 bytes of names.
	maxXattrs = 64 << 20
	// maxAttrLeaves bounds the leaves of an attribute fork.
	maxAttrLeaves = 1 << 16
)

// xattrs collects the attributes of a file.
type xattrs struct {
	of     uint64
	values map[string][]byte
	size   int
}

// Xattrs implements filesystem.FS.
func (f *fsys) Xattrs(id filesystem.ID) (map[string][]byte, error) {
	i, err := f.inode(id)
	if err != nil {
		return nil, err
	}
	x := &xattrs{of: i.number, values: map[string][]byte{}}
	switch {
	case i.attrs.raw == nil:
	case i.attrs.format == formatLocal:
		err = x.short(i.attrs.raw)
	case i.attrs.format == formatExtents && i.attrs.extents == 0:
	default:
		err = f.attrLeaves(i, x)
	}
	if err != nil {
		return nil, err
	}
	return x.values, nil
}

// short reads attributes that are in the inode: bytes in all, count, then for each the
// lengths of name and value, flags, name, value.
func (x *xattrs) short(b []byte) error {
	if len(b) < 4 {
		return corrupt("attributes of inode %d", x.of)
	}
	at := 4
	for range int(b[2]) {
		if at+3 > len(b) {
			return corrupt("attributes of inode %d end early", x.of)
		}
		name, value, flags := int(b[at]), int(b[at+1]), b[at+2]
		at += 3
		if name+value > len(b)-at {
			return corrupt("attributes of inode %d end early", x.of)
		}
		if err := x.add(flags, b[at:at+name], b[at+name:at+name+value]); err != nil {
			return err
		}
		at += name + value
	}
	return nil
}

// add takes an attribute in, with copies of its name and value.
func (x *xattrs) add(flags byte, name, value []byte) error {
	if flags&(attrParent|attrIncomplete) != 0 {
		return nil
	}
	x.size += len(name) + len(value)
	if x.size > maxXattrs {
		return unsupported("inode %d has more than %d bytes of attributes", x.of, maxXattrs)
	}
	full := "user." + string(name)
	switch {
	case flags&attrRoot != 0:
		full = "trusted." + string(name)
	case flags&attrSecure != 0:
		full = "security." + string(name)
	}
	x.values[full] = append([]byte{}, value...)
	if flags&attrRoot == 0 {
		return nil
	}
	acl := ""
	switch string(name) {
	case "SGI_ACL_FILE":
		acl = "system.posix_acl_access"
	case "SGI_ACL_DEFAULT":
		acl = "system.posix_acl_default"
	default:
		return nil
	}
	decoded, err := decodeACL(value)
	if err != nil {
		return corrupt("access control list of inode %d", x.of)
	}
	x.values[acl] = decoded
	return nil
}

// decodeACL turns an access control list as XFS keeps it into what getxattr(2) gives of it.
func decodeACL(b []byte) ([]byte, error) {
	const entry, version = 12, 2
	const user, group, none = 2, 8, 0xffffffff
	if len(b) < 4 || uint64(be.Uint32(b)) > uint64(len(b)-4)/entry {
		return nil, filesystem.ErrCorrupt
	}
	out := binary.LittleEndian.AppendUint32(nil, version)
	for n := range int(be.Uint32(b)) {
		e := b[4+n*entry:]
		tag, id := be.Uint32(e), be.Uint32(e[4:])
		if tag != user && tag != group {
			id = none
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(tag))
		out = binary.LittleEndian.AppendUint16(out, be.Uint16(e[8:]))
		out = binary.LittleEndian.AppendUint32(out, id)
	}
	return out, nil
}
