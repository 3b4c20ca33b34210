package xfs

import "sort"

const (
	extentSize = 16
	// maxTreeLevel bounds the depth of a tree of extents; the kernel's bound is 9 at most.
	maxTreeLevel = 16
	// maxEmptyLeaves bounds how many leaves without extents a search passes; the kernel
	// leaves none.
	maxEmptyLeaves = 64
)

// extent says where count blocks of a fork are, in units of blocks. Unwritten ones were
// allocated and read as zeros.
type extent struct {
	offset    uint64
	block     uint64
	count     uint64
	unwritten bool
}

func (e extent) end() uint64 { return e.offset + e.count }

func parseExtent(b []byte) extent {
	high, low := be.Uint64(b), be.Uint64(b[8:])
	return extent{
		offset:    high >> 9 & (1<<54 - 1),
		block:     high&(1<<9-1)<<43 | low>>21,
		count:     low & (1<<21 - 1),
		unwritten: high>>63 != 0,
	}
}

// search returns the first of n extents that ends after a block.
func search(b []byte, n int, block uint64) (extent, bool) {
	i := sort.Search(n, func(i int) bool { return parseExtent(b[i*extentSize:]).end() > block })
	if i == n {
		return extent{}, false
	}
	return parseExtent(b[i*extentSize:]), true
}

// find returns the extent of a fork that holds a block, or else the next one after it;
// none where only a hole follows. What it returns ends after block.
func (f *fsys) find(i *inode, of *fork, block uint64) (extent, bool, error) {
	var e extent
	var ok bool
	switch of.format {
	case formatExtents:
		if of.extents > uint64(len(of.raw)/extentSize) {
			return e, false, corrupt("inode %d has %d extents", i.number, of.extents)
		}
		e, ok = search(of.raw, int(of.extents), block)
	case formatTree:
		var err error
		if e, ok, err = f.findInTree(i, of.raw, block); err != nil {
			return e, false, err
		}
	default:
		return e, false, corrupt("inode %d has a fork of format %d", i.number, of.format)
	}
	if ok && e.count == 0 {
		return e, false, corrupt("inode %d has an extent of no blocks", i.number)
	}
	return e, ok, nil
}

// node is a block of a tree of extents, or its root.
type node struct {
	level, count int
	keys, blocks []byte // inner nodes: 8 bytes for each entry
	extents      []byte // leaves
}

// child returns the child that holds a block, and where the next child begins.
func (n *node) child(block uint64) (child, next uint64) {
	i := sort.Search(n.count, func(i int) bool { return be.Uint64(n.keys[i*8:]) > block })
	next = ^uint64(0)
	if i < n.count {
		next = be.Uint64(n.keys[i*8:])
	}
	return be.Uint64(n.blocks[max(i-1, 0)*8:]), next
}

// findInTree is find for a tree whose root is in the inode: level and count of entries,
// room for keys, room for pointers.
func (f *fsys) findInTree(i *inode, raw []byte, block uint64) (extent, bool, error) {
	if len(raw) < 4+16 {
		return extent{}, false, corrupt("root of the extents of inode %d", i.number)
	}
	room := (len(raw) - 4) / 16
	root := node{level: int(be.Uint16(raw)), count: int(be.Uint16(raw[2:])), keys: raw[4:], blocks: raw[4+room*8:]}
	if root.level == 0 || root.level > maxTreeLevel || root.count == 0 || root.count > room {
		return extent{}, false, corrupt("root of the extents of inode %d", i.number)
	}
	for range maxEmptyLeaves {
		at, after := root, ^uint64(0)
		for at.level > 0 {
			child, next := at.child(block)
			after = min(after, next)
			below, err := f.treeNode(i, child)
			if err != nil {
				return extent{}, false, err
			}
			if below.level != at.level-1 {
				return extent{}, false, corrupt("block %d of the extents of inode %d is of level %d", child, i.number, below.level)
			}
			at = below
		}
		if e, ok := search(at.extents, at.count, block); ok {
			return e, true, nil
		}
		if after == ^uint64(0) {
			return extent{}, false, nil
		}
		block = after
	}
	return extent{}, false, corrupt("the extents of inode %d have many empty leaves", i.number)
}

// treeNode reads a block of a tree of extents.
func (f *fsys) treeNode(i *inode, block uint64) (node, error) {
	header, magic := 24, "BMAP"
	if f.sb.v5 {
		header, magic = 72, "BMA3"
	}
	b, err := f.block(kindTree, block, func(b []byte, at int64) error {
		if string(b[:4]) != magic || f.sb.v5 && (!checksumOK(b, longTreeCRC) || be.Uint64(b[24:]) != uint64(at)>>9) {
			return corrupt("block %d of the extents of inode %d", block, i.number)
		}
		return nil
	})
	if err != nil {
		return node{}, err
	}
	n := node{level: int(be.Uint16(b[4:])), count: int(be.Uint16(b[6:]))}
	room := (len(b) - header) / 16
	if n.count > room || n.level > 0 && n.count == 0 {
		return node{}, corrupt("block %d of the extents of inode %d has %d entries", block, i.number, n.count)
	}
	if n.level == 0 {
		n.extents = b[header:]
	} else {
		n.keys, n.blocks = b[header:], b[header+room*8:]
	}
	return n, nil
}
