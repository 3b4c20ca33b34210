package ext

import "sort"

const (
	extentMagic     = 0xF30A
	extentDepth     = 5 // more levels than 2^32 blocks can need
	extentEntry     = 12
	extentUnwritten = 32768 // lengths above are of extents that were never written
)

// extentAt finds the run that holds a block in the tree of extents. Where there is none,
// the run is a hole up to the next extent.
func (r *reader) extentAt(i *inode, block uint32) (run, error) {
	node := i.blockMap[:]
	depth, err := checkNode(i, node, -1)
	if err != nil {
		return run{}, err
	}
	next := uint64(maxFileBlocks) // where what follows begins
	for ; depth > 0; depth-- {
		n := entryBefore(node, block)
		if following := extentFirst(node, n+1); following < next {
			next = following
		}
		if n < 0 {
			return hole(i, block, next)
		}
		entry := node[extentEntry*(n+1):]
		child := uint64(le.Uint32(entry[4:])) | uint64(le.Uint16(entry[8:]))<<32
		level := depth - 1
		node, err = r.block(blockKey{child, i.number}, func(b []byte) error { return r.checkExtentBlock(i, b, level) })
		if err != nil {
			return run{}, err
		}
		if _, err := checkNode(i, node, level); err != nil {
			return run{}, err
		}
	}
	n := entryBefore(node, block)
	if following := extentFirst(node, n+1); following < next {
		next = following
	}
	if n < 0 {
		return hole(i, block, next)
	}
	found := decodeExtent(node[extentEntry*(n+1):])
	if found.length == 0 {
		return run{}, corrupt("inode %d has an extent without blocks", i.number)
	}
	if uint64(block) >= found.end() {
		return hole(i, block, next)
	}
	if found.end() > next {
		return run{}, corrupt("inode %d has extents that overlap at block %d", i.number, next)
	}
	return found, nil
}

func decodeExtent(entry []byte) run {
	found := run{
		first:  uint64(le.Uint32(entry)),
		length: uint64(le.Uint16(entry[4:])),
		place:  uint64(le.Uint16(entry[6:]))<<32 | uint64(le.Uint32(entry[8:])),
		data:   true,
	}
	if found.length > extentUnwritten {
		found.length -= extentUnwritten
		found.data = false
	}
	return found
}

// hole is the run from block up to next, where there is no extent.
func hole(i *inode, block uint32, next uint64) (run, error) {
	if next <= uint64(block) {
		return run{}, corrupt("inode %d has extents out of order at block %d", i.number, block)
	}
	return run{first: uint64(block), length: next - uint64(block)}, nil
}

// checkNode checks the header of a node, which must be at depth unless that is -1, and
// returns its depth.
func checkNode(i *inode, node []byte, depth int) (int, error) {
	entries, most, have := int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
	switch {
	case le.Uint16(node) != extentMagic,
		entries > most, most > len(node)/extentEntry-1,
		have > extentDepth, depth >= 0 && have != depth:
		return 0, corrupt("inode %d has a broken node in its tree of extents", i.number)
	}
	return have, nil
}

// checkExtentBlock checks a node outside of the inode before it is kept.
func (r *reader) checkExtentBlock(i *inode, b []byte, depth int) error {
	if _, err := checkNode(i, b, depth); err != nil {
		return err
	}
	if !r.sb.checksums() {
		return nil
	}
	tail := extentEntry * (1 + int(le.Uint16(b[4:])))
	if tail+4 > len(b) || checksum(i.seed, b[:tail]) != le.Uint32(b[tail:]) {
		return corrupt("the checksum of a node in the tree of extents of inode %d is wrong", i.number)
	}
	return nil
}

// entryBefore returns the last entry of a node that begins at block or before it, -1
// where there is none.
func entryBefore(node []byte, block uint32) int {
	entries := int(le.Uint16(node[2:]))
	return sort.Search(entries, func(n int) bool { return le.Uint32(node[extentEntry*(n+1):]) > block }) - 1
}

// extentFirst returns the first block of an entry, or the end of all blocks behind the last one.
func extentFirst(node []byte, n int) uint64 {
	if n >= int(le.Uint16(node[2:])) {
		return maxFileBlocks
	}
	return uint64(le.Uint32(node[extentEntry*(n+1):]))
}
