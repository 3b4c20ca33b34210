package ext

import "golang.org/x/sys/unix"

// cutMost bounds how many blocks of a file's map are read to see what it loses.
const cutMost = 1 << 20

// cutSectors returns how much of what an orphan occupies lies behind its end, in units of
// 512 bytes: its blocks of content, and those that map nothing else.
func (r *reader) cutSectors(i *inode) (int64, error) {
	mapped := i.is(unix.S_IFREG) || i.is(unix.S_IFDIR) || (i.is(unix.S_IFLNK) && !r.fastLink(i))
	if !mapped || i.has(flagInlineData) {
		return 0, nil
	}
	keep := (uint64(i.size) + uint64(r.sb.blockSize) - 1) >> r.sb.blockBits
	c := cut{r: r, i: i, keep: keep, left: cutMost}
	var blocks uint64
	var err error
	if i.has(flagExtents) {
		blocks, _, err = c.extents(i.blockMap[:], -1)
	} else {
		blocks, err = c.pointers()
	}
	return int64(blocks << (r.sb.blockBits - 9)), err
}

// cut counts the blocks of an inode behind block keep.
type cut struct {
	r    *reader
	i    *inode
	keep uint64
	left int // blocks of the map that may still be read
}

// extents returns how many blocks the entries of a node lose, and whether any remains.
func (c *cut) extents(node []byte, depth int) (lost uint64, remains bool, err error) {
	if depth, err = checkNode(c.i, node, depth); err != nil {
		return 0, false, err
	}
	for n := range int(le.Uint16(node[2:])) {
		entry := node[extentEntry*(n+1):]
		if depth == 0 {
			e := decodeExtent(entry)
			switch {
			case e.first >= c.keep:
				lost += e.length
			case e.end() > c.keep:
				lost += e.end() - c.keep
				remains = true
			default:
				remains = true
			}
			continue
		}
		if extentFirst(node, n+1) <= c.keep {
			remains = true // all of it lies before the end
			continue
		}
		if err := c.take(); err != nil {
			return 0, false, err
		}
		child := uint64(le.Uint32(entry[4:])) | uint64(le.Uint16(entry[8:]))<<32
		level := depth - 1
		b, err := c.r.block(blockKey{child, c.i.number}, func(b []byte) error { return c.r.checkExtentBlock(c.i, b, level) })
		if err != nil {
			return 0, false, err
		}
		more, some, err := c.extents(b, level)
		if err != nil {
			return 0, false, err
		}
		lost += more
		if !some {
			lost++
		}
		remains = remains || some
	}
	return lost, remains, nil
}

func (c *cut) take() error {
	if c.left == 0 {
		return corrupt("inode %d has more than %d blocks of a map", c.i.number, cutMost)
	}
	c.left--
	return nil
}

// pointers returns how many blocks a block map loses.
func (c *cut) pointers() (uint64, error) {
	var lost uint64
	for n := range uint64(directBlocks) {
		if n >= c.keep && le.Uint32(c.i.blockMap[4*n:]) != 0 {
			lost++
		}
	}
	first := uint64(directBlocks)
	for level := uint(1); level <= 3; level++ {
		pointer := le.Uint32(c.i.blockMap[4*(directBlocks+level-1):])
		more, _, err := c.tree(pointer, level, first)
		if err != nil {
			return 0, err
		}
		lost += more
		first += 1 << ((c.r.sb.blockBits - 2) * level)
	}
	return lost, nil
}

// tree returns how many blocks the tree at pointer loses, itself among them, and whether
// any remains. Its first block of content is first; at level 0 it is that block.
func (c *cut) tree(pointer uint32, level uint, first uint64) (lost uint64, remains bool, err error) {
	bits := (c.r.sb.blockBits - 2) * level
	if pointer == 0 {
		return 0, false, nil
	}
	if first+1<<bits <= c.keep {
		return 0, true, nil
	}
	if level == 0 {
		return 1, false, nil
	}
	if err := c.take(); err != nil {
		return 0, false, err
	}
	b, err := c.r.block(blockKey{uint64(pointer), c.i.number}, nil)
	if err != nil {
		return 0, false, err
	}
	child := (c.r.sb.blockBits - 2) * (level - 1)
	for n := range uint64(len(b) / 4) {
		more, some, err := c.tree(le.Uint32(b[4*n:]), level-1, first+n<<child)
		if err != nil {
			return 0, false, err
		}
		lost += more
		remains = remains || some
	}
	if !remains {
		lost++
	}
	return lost, remains, nil
}
