package ext

import (
	"fmt"

	"vmsync/fusefs/filesystem"
)

const (
	xattrMagic      = 0xEA020000
	xattrHeader     = 32 // of a block of attributes
	xattrEntry      = 16 // without the name
	xattrValueMax   = 1 << 16
	xattrsBytesMax  = 8 << 20 // of all values of one file
	xattrChecksumAt = 0x10

	xattrACLAccess  = 2
	xattrACLDefault = 3
	xattrSystem     = 7
)

// xattrPrefixes are what name indexes stand for. Others are the filesystem's own, or are not
// shown by the kernel.
var xattrPrefixes = map[byte]string{
	1:               "user.",
	xattrACLAccess:  "system.posix_acl_access",
	xattrACLDefault: "system.posix_acl_default",
	4:               "trusted.",
	6:               "security.",
	10:              "gnu.",
}

// xattr is struct ext4_xattr_entry. Name and value are part of shared bytes.
type xattr struct {
	index byte
	name  []byte
	size  uint32
	hash  uint32
	inode uint32 // that holds the value; 0 where it is in value
	value []byte
}

// xattrs returns all attributes of a file.
func (r *reader) xattrs(i *inode) (map[string][]byte, error) {
	entries, err := i.inodeXattrs()
	if err != nil {
		return nil, err
	}
	if i.xattrBlock != 0 {
		more, err := r.blockXattrs(i)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	all := make(map[string][]byte, len(entries))
	bytes := 0
	for _, e := range entries {
		prefix, known := xattrPrefixes[e.index]
		if !known {
			continue
		}
		name := prefix + string(e.name)
		if _, twice := all[name]; twice {
			continue // what the inode holds goes first
		}
		if bytes += int(e.size); bytes > xattrsBytesMax {
			return nil, fmt.Errorf("ext: %w: inode %d has more than %d bytes of attributes", filesystem.ErrUnsupported, i.number, xattrsBytesMax)
		}
		value, err := r.xattrValue(i, e)
		if err != nil {
			return nil, err
		}
		if e.index == xattrACLAccess || e.index == xattrACLDefault {
			value, err = decodeACL(i, value)
			if err != nil {
				return nil, err
			}
		}
		all[name] = append([]byte{}, value...)
	}
	return all, nil
}

// inodeXattrs returns the attributes that lie behind the inode's fields.
func (i *inode) inodeXattrs() ([]xattr, error) {
	if len(i.extra) < 4 || le.Uint32(i.extra) != xattrMagic {
		return nil, nil
	}
	return parseXattrs(i, i.extra[4:], 0)
}

// blockXattrs returns the attributes in the inode's block of them, which it may share
// with other inodes.
func (r *reader) blockXattrs(i *inode) ([]xattr, error) {
	b, err := r.block(blockKey{block: i.xattrBlock}, nil)
	if err != nil {
		return nil, err
	}
	if le.Uint32(b) != xattrMagic || le.Uint32(b[8:]) != 1 {
		return nil, corrupt("inode %d has no attributes at block %d", i.number, i.xattrBlock)
	}
	if r.sb.checksums() {
		sum := checksum(checksum64(r.sb.seed, i.xattrBlock), b[:xattrChecksumAt])
		sum = checksum(checksum(sum, []byte{0, 0, 0, 0}), b[xattrChecksumAt+4:])
		if sum != le.Uint32(b[xattrChecksumAt:]) {
			return nil, corrupt("the checksum of the attributes at block %d is wrong", i.xattrBlock)
		}
	}
	return parseXattrs(i, b, xattrHeader)
}

// parseXattrs decodes the entries that begin at off of area; the places of values count
// from area's begin.
func parseXattrs(i *inode, area []byte, off int) ([]xattr, error) {
	var entries []xattr
	for {
		left := area[min(off, len(area)):]
		if len(left) < 4 {
			return nil, corrupt("the attributes of inode %d have no end", i.number)
		}
		if le.Uint32(left) == 0 {
			return entries, nil
		}
		name := int(left[0])
		if len(left) < xattrEntry+name {
			return nil, corrupt("the attributes of inode %d have no end", i.number)
		}
		e := xattr{
			index: left[1],
			name:  left[xattrEntry:][:name],
			inode: le.Uint32(left[4:]),
			size:  le.Uint32(left[8:]),
			hash:  le.Uint32(left[12:]),
		}
		if e.size > xattrValueMax {
			return nil, corrupt("inode %d has an attribute of %d bytes", i.number, e.size)
		}
		if e.inode == 0 {
			at := int(le.Uint16(left[2:]))
			if at > len(area) || int(e.size) > len(area)-at {
				return nil, corrupt("inode %d has an attribute outside of its place", i.number)
			}
			e.value = area[at:][:e.size]
		}
		entries = append(entries, e)
		off += (xattrEntry + name + 3) &^ 3
	}
}

// xattrValue returns an attribute's value, from an inode of its own where it lies there.
func (r *reader) xattrValue(i *inode, e xattr) ([]byte, error) {
	if e.inode == 0 {
		return e.value, nil
	}
	holder, err := r.anyInode(e.inode)
	if err != nil {
		return nil, err
	}
	if !r.sb.has(incompatEAInode) || !holder.has(flagEAInode) || holder.has(flagInlineData) || holder.size < int64(e.size) {
		return nil, corrupt("inode %d does not hold the attribute of inode %d", e.inode, i.number)
	}
	value := make([]byte, e.size)
	if _, err := (&file{r: r, inode: holder}).ReadAt(value, 0); err != nil {
		return nil, err
	}
	// Lustre's inodes have no checksum: they point back to the one owner that they have.
	if holder.mtime.Unix() == int64(int32(i.number)) && holder.generation == i.generation {
		return value, nil
	}
	if uint32(holder.atime.Unix()) != checksum(r.sb.seed, value) {
		return nil, corrupt("the checksum of the attribute in inode %d is wrong", e.inode)
	}
	return value, nil
}
