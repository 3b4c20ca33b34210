package btrfs

import (
	"hash/crc32"
	"slices"
)

// inodeRef is a name of a file, as the file has it ([format], "INODE_REF").
type inodeRef struct {
	parent uint64 // the directory
	index  uint64 // of the name in the directory
	name   string
}

const (
	inodeRefHeader    = 10
	inodeExtrefHeader = 18
)

// parseRefs reads an item of names: all those in one directory, or some with the same
// hash in any.
func parseRefs(k key, b []byte) ([]inodeRef, error) {
	var refs []inodeRef
	header := inodeRefHeader
	if k.kind == kindInodeExtref {
		header = inodeExtrefHeader
	}
	for len(b) > 0 {
		if len(b) < header {
			return nil, corrupt("names of inode %d: %d bytes", k.object, len(b))
		}
		ref := inodeRef{parent: k.offset, index: le.Uint64(b[header-10:])}
		if k.kind == kindInodeExtref {
			ref.parent = le.Uint64(b)
		}
		size := header + int(le.Uint16(b[header-2:]))
		if size > len(b) || size == header || size > header+maxName {
			return nil, corrupt("names of inode %d: a name of %d bytes", k.object, size-header)
		}
		ref.name = string(b[header:size])
		refs, b = append(refs, ref), b[size:]
	}
	return refs, nil
}

// encodeRefs is the opposite of parseRefs; nil where there is no name left.
func encodeRefs(k key, refs []inodeRef) []byte {
	var b []byte
	for _, ref := range refs {
		if k.kind == kindInodeExtref {
			b = le.AppendUint64(b, ref.parent)
		}
		b = le.AppendUint64(b, ref.index)
		b = le.AppendUint16(b, uint16(len(ref.name)))
		b = append(b, ref.name...)
	}
	return b
}

// refKeys are the items that may have a name of a file.
func refKeys(inode, parent uint64, name string) [2]key {
	hash := ^crc32.Update(^uint32(parent), castagnoli, []byte(name))
	return [2]key{{inode, kindInodeRef, parent}, {inode, kindInodeExtref, uint64(hash)}}
}

// findRef looks for a name that a file has in a directory, and returns the item it is in,
// all names of that item, and which one it is: -1 where there is none.
func (t *tree) findRef(inode, parent uint64, name string) (k key, refs []inodeRef, i int, err error) {
	for _, k := range refKeys(inode, parent, name) {
		item, ok, err := t.get(k)
		if err != nil {
			return k, nil, -1, err
		}
		if !ok {
			continue
		}
		refs, err := parseRefs(k, item)
		if err != nil {
			return k, nil, -1, err
		}
		i := slices.IndexFunc(refs, func(r inodeRef) bool { return r.parent == parent && r.name == name })
		if i >= 0 {
			return k, refs, i, nil
		}
	}
	return key{}, nil, -1, nil
}
