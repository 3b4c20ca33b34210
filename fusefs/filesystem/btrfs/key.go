package btrfs

import (
	"cmp"
	"fmt"
)

// key names an item of a tree; items are sorted by it.
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

const keySize = 17

func parseKey(b []byte) key {
	return key{le.Uint64(b), b[8], le.Uint64(b[9:])}
}

func (k key) compare(other key) int {
	switch {
	case k.object != other.object:
		return cmp.Compare(k.object, other.object)
	case k.kind != other.kind:
		return cmp.Compare(k.kind, other.kind)
	}
	return cmp.Compare(k.offset, other.offset)
}

func (k key) String() string { return fmt.Sprintf("(%d %d %d)", int64(k.object), k.kind, k.offset) }

// before returns the key below k, which is not the lowest one.
func (k key) before() key {
	if k.offset--; k.offset == ^uint64(0) {
		if k.kind--; k.kind == 255 {
			k.object--
		}
	}
	return k
}
