package btrfs

import (
	"bytes"
	"sort"
)

const (
	nodeHeader = 101
	ptrSize    = 33
	itemSize   = 25

	// maxLevel is the highest level of a tree's root; leaves are level 0.
	maxLevel = 7
)

// nodeRef points to a node and says what has to be found there.
type nodeRef struct {
	at         uint64
	generation uint64
	level      uint8
}

// node is a tree block whose checksum was right and whose items lie within it.
// It is not changed after it was read.
type node struct {
	b          []byte
	count      int
	level      uint8
	generation uint64
}

// parseNode checks the block b, which was read from ref.
func (r *reader) parseNode(b []byte, ref nodeRef) (*node, error) {
	if !r.super.csum.matches(b[32:], b[:r.super.csum.size]) {
		return nil, corrupt("tree block %d: wrong checksum", ref.at)
	}
	if at := le.Uint64(b[0x30:]); at != ref.at {
		return nil, corrupt("tree block %d says that it is %d", ref.at, at)
	}
	if !bytes.Equal(b[0x20:0x30], r.super.metaUUID[:]) {
		return nil, corrupt("tree block %d belongs to another filesystem", ref.at)
	}
	n := &node{b: b, count: int(le.Uint32(b[0x60:])), level: b[0x64], generation: le.Uint64(b[0x50:])}
	if err := n.matches(ref); err != nil {
		return nil, err
	}
	stride := ptrSize
	if n.level == 0 {
		stride = itemSize
	}
	if n.count < 0 || n.count > (len(b)-nodeHeader)/stride || n.count == 0 && n.level > 0 {
		return nil, corrupt("tree block %d: %d items", ref.at, n.count)
	}
	for i := range n.count {
		if i > 0 && n.key(i-1).compare(n.key(i)) >= 0 {
			return nil, corrupt("tree block %d: item %d is out of order", ref.at, i)
		}
		if n.level > 0 {
			continue
		}
		item := b[nodeHeader+i*itemSize+keySize:]
		off, size := uint64(le.Uint32(item)), uint64(le.Uint32(item[4:]))
		if off < uint64(n.count*itemSize) || off+size > uint64(len(b)-nodeHeader) {
			return nil, corrupt("tree block %d: item %d lies outside", ref.at, i)
		}
	}
	return n, nil
}

// matches holds a node against a reference to it. A node that was found in the cache by
// its address may have been put there by another reference.
func (n *node) matches(ref nodeRef) error {
	if n.generation != ref.generation {
		return corrupt("tree block %d: generation %d, wanted %d", ref.at, n.generation, ref.generation)
	}
	if n.level != ref.level {
		return corrupt("tree block %d: level %d, wanted %d", ref.at, n.level, ref.level)
	}
	return nil
}

func (n *node) key(i int) key {
	if n.level > 0 {
		return parseKey(n.b[nodeHeader+i*ptrSize:])
	}
	return parseKey(n.b[nodeHeader+i*itemSize:])
}

// item returns the data of a leaf's item.
func (n *node) item(i int) []byte {
	b := n.b[nodeHeader+i*itemSize+keySize:]
	off, size := nodeHeader+le.Uint32(b), le.Uint32(b[4:])
	return n.b[off : off+size : off+size]
}

// child returns the reference in an inner node's slot.
func (n *node) child(i int) nodeRef {
	b := n.b[nodeHeader+i*ptrSize+keySize:]
	return nodeRef{le.Uint64(b), le.Uint64(b[8:]), n.level - 1}
}

// search returns the first slot whose key is not below k.
func (n *node) search(k key) int {
	return sort.Search(n.count, func(i int) bool { return n.key(i).compare(k) >= 0 })
}

// searchChild returns the slot of an inner node below which k would be: the last one
// whose key is not above k, or the first.
func (n *node) searchChild(k key) int {
	i := n.search(k)
	if i == n.count || i > 0 && n.key(i) != k {
		i--
	}
	return i
}

// node returns the node at ref, from the cache or the first copy that is whole.
func (r *reader) node(ref nodeRef) (*node, error) {
	if n, ok := r.nodes.get(ref.at); ok {
		return n, n.matches(ref)
	}
	if ref.at%uint64(r.super.sectorSize) != 0 || ref.at > maxAddress {
		return nil, corrupt("tree block at address %d", ref.at)
	}
	var failed error
	for i := range r.volume.copies(ref.at) {
		b := make([]byte, r.super.nodeSize)
		err := r.volume.read(b, ref.at, i)
		if err == nil {
			var n *node
			if n, err = r.parseNode(b, ref); err == nil {
				r.nodes.put(ref.at, n)
				return n, nil
			}
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, failed
}

// descend returns the node below slot i of an inner node. That its first key is the one
// that points to it makes each pointer lead to another node: a tree cannot have more
// nodes than there is room for on the devices, however it is walked.
func (r *reader) descend(n *node, i int) (*node, error) {
	ref := n.child(i)
	child, err := r.node(ref)
	if err != nil {
		return nil, err
	}
	if child.count == 0 || child.key(0) != n.key(i) {
		return nil, corrupt("tree block %d does not begin with %v", ref.at, n.key(i))
	}
	return child, nil
}
