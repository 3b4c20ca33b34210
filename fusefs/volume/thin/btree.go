package thin

import (
	"encoding/binary"
	"fmt"
	"sort"
	"sync/atomic"

	"vmsync/fusefs/filesystem"
)

const (
	nodeHeader   = 32
	internalNode = 1
	leafNode     = 2
	// maxDepth is far more than trees of at least 63 children a node need.
	maxDepth = 16
)

// node is a block of a B-tree. Values are blocks of children, or what a leaf holds.
type node struct {
	block  uint64
	leaf   bool
	keys   []uint64
	values []uint64
}

// cache keeps nodes by their block; one that is in the way is replaced.
type cache [256]atomic.Pointer[node]

func (p *Pool) node(block uint64) (*node, error) {
	slot := &p.cache[block%uint64(len(p.cache))]
	if n := slot.Load(); n != nil && n.block == block {
		return n, nil
	}
	if block >= uint64(p.meta.Size()/blockSize) {
		return nil, fmt.Errorf("thin pool: block %d is outside of its metadata: %w", block, filesystem.ErrCorrupt)
	}
	raw := make([]byte, blockSize)
	if _, err := p.meta.ReadAt(raw, int64(block)*blockSize); err != nil {
		return nil, fmt.Errorf("reading block %d of a thin pool's metadata: %w", block, err)
	}
	n, err := parse(raw, block)
	if err != nil {
		return nil, fmt.Errorf("thin pool: block %d of its metadata: %w: %w", block, err, filesystem.ErrCorrupt)
	}
	slot.Store(n)
	return n, nil
}

func parse(raw []byte, block uint64) (*node, error) {
	le := binary.LittleEndian
	if !sealed(raw, nodeCRCSalt) {
		return nil, fmt.Errorf("wrong checksum")
	}
	flags, count, room := le.Uint32(raw[4:]), le.Uint32(raw[16:]), le.Uint32(raw[20:])
	if own := le.Uint64(raw[8:]); own != block {
		return nil, fmt.Errorf("it is block %d", own)
	}
	if (flags != internalNode && flags != leafNode) || le.Uint32(raw[24:]) != 8 ||
		count > room || room > (blockSize-nodeHeader)/16 || (count == 0 && flags == internalNode) {
		return nil, fmt.Errorf("%d of %d entries, flags %#x", count, room, flags)
	}
	n := &node{block: block, leaf: flags == leafNode, keys: make([]uint64, count), values: make([]uint64, count)}
	for i := range n.keys {
		n.keys[i] = le.Uint64(raw[nodeHeader+8*i:])
		n.values[i] = le.Uint64(raw[nodeHeader+8*int(room)+8*i:])
		if i > 0 && n.keys[i] <= n.keys[i-1] {
			return nil, fmt.Errorf("keys out of order")
		}
	}
	return n, nil
}

// seek returns the leaf that holds the first key at or after key, and its place there;
// nil where the tree has none.
func (p *Pool) seek(root, key uint64) (*node, int, error) {
	leaf, next, more, err := p.descend(root, key)
	if err != nil {
		return nil, 0, err
	}
	if i := at(leaf, key); i < len(leaf.keys) {
		return leaf, i, nil
	}
	if !more {
		return nil, 0, nil
	}
	// The first key of the leaf to the right is the one, for no leaf but a root is empty.
	leaf, _, _, err = p.descend(root, next)
	if err != nil {
		return nil, 0, err
	}
	i := at(leaf, next)
	if i == len(leaf.keys) {
		return nil, 0, fmt.Errorf("thin pool: block %d holds no key from %d on: %w", leaf.block, next, filesystem.ErrCorrupt)
	}
	return leaf, i, nil
}

func at(n *node, key uint64) int {
	return sort.Search(len(n.keys), func(i int) bool { return n.keys[i] >= key })
}

// descend returns the leaf where key belongs, and the key at which the leaf to its right
// begins, if there is one.
func (p *Pool) descend(root, key uint64) (leaf *node, next uint64, more bool, err error) {
	block := root
	for range maxDepth {
		n, err := p.node(block)
		if err != nil {
			return nil, 0, false, err
		}
		if n.leaf {
			return n, next, more, nil
		}
		i := sort.Search(len(n.keys), func(i int) bool { return n.keys[i] > key })
		if i < len(n.keys) {
			next, more = n.keys[i], true
		}
		block = n.values[max(i-1, 0)]
	}
	return nil, 0, false, fmt.Errorf("thin pool: a tree deeper than %d blocks: %w", maxDepth, filesystem.ErrCorrupt)
}
