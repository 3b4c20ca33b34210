package xfs

// forkBlock returns count blocks of a fork, from a block on, as verify has accepted them:
// a block of a directory, or of an attribute fork. at is where on the device they begin.
func (f *fsys) forkBlock(i *inode, k kind, block, count uint64, verify func(b []byte, at int64) error) ([]byte, error) {
	name := key{kind: k, inode: i.number, number: block}
	if b, ok := f.blocks.get(name); ok {
		return b.([]byte), nil
	}
	b := make([]byte, count<<f.sb.blockLog)
	first := int64(0)
	for done := uint64(0); done < count; {
		e, ok, err := f.find(i, i.forkOf(k), block+done)
		if err != nil {
			return nil, err
		}
		if !ok || e.offset > block+done || e.unwritten {
			return nil, corrupt("block %d of inode %d is a hole", block+done, i.number)
		}
		skip := block + done - e.offset
		n := min(e.count-skip, count-done)
		at, err := f.sb.address(e.block+skip, n)
		if err != nil {
			return nil, err
		}
		if _, err := f.dev.ReadAt(b[done<<f.sb.blockLog:(done+n)<<f.sb.blockLog], at); err != nil {
			return nil, err
		}
		if done == 0 {
			first = at
		}
		done += n
	}
	if err := verify(b, first); err != nil {
		return nil, err
	}
	f.blocks.put(name, b, len(b))
	return b, nil
}

// Magic numbers of blocks that are found by hash, version 5 in the second place.
const (
	magicDirLeaf1, magicDirLeaf1V5 = 0xd2f1, 0x3df1
	magicDirLeafN, magicDirLeafNV5 = 0xd2ff, 0x3dff
	magicNode, magicNodeV5         = 0xfebe, 0x3ebe
	magicAttrLeaf, magicAttrLeafV5 = 0xfbee, 0x3bee
)

// hashBlock is a block of the index by hash of a directory, or of an attribute fork:
// a leaf or an inner node.
type hashBlock struct {
	magic   uint16 // as version 4 has it
	next    uint32 // the next leaf to the right, 0 for none
	level   int    // of inner nodes, 1 and up
	entries []byte // 8 bytes each, sorted by the hash, which comes first
	bytes   []byte
}

func (h *hashBlock) count() int        { return len(h.entries) / 8 }
func (h *hashBlock) hash(i int) uint32 { return be.Uint32(h.entries[i*8:]) }

// firstFrom returns the first entry whose hash is not below hash.
func (h *hashBlock) firstFrom(hash uint32) int {
	low, high := 0, h.count()
	for low < high {
		if mid := (low + high) / 2; h.hash(mid) < hash {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// hashBlock reads a block of an index by hash.
func (f *fsys) hashBlock(i *inode, k kind, block uint64) (*hashBlock, error) {
	count := uint64(1)
	if k == kindDirectory {
		count <<= f.sb.dirBlockLog
	}
	b, err := f.forkBlock(i, k, block, count, func(b []byte, at int64) error {
		if f.sb.v5 && (!checksumOK(b, daCRC) || be.Uint64(b[16:]) != uint64(at)>>9 || be.Uint64(b[48:]) != i.number) {
			return corrupt("block %d of the index of inode %d", block, i.number)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	h := &hashBlock{magic: be.Uint16(b[8:]), next: be.Uint32(b), bytes: b}
	known := []uint16{magicDirLeaf1, magicDirLeafN, magicNode, magicAttrLeaf}
	if f.sb.v5 {
		known = []uint16{magicDirLeaf1V5, magicDirLeafNV5, magicNodeV5, magicAttrLeafV5}
	}
	// After the links to the neighbours, which version 5 puts more behind.
	header := 12
	if f.sb.v5 {
		header = 56
	}
	entries := header + 4
	if f.sb.v5 {
		entries = header + 8
	}
	n := int(be.Uint16(b[header:]))
	switch h.magic {
	case known[0], known[1]:
		h.magic = magicDirLeafN
	case known[2]:
		h.magic = magicNode
		h.level = int(be.Uint16(b[header+2:]))
	case known[3]:
		h.magic = magicAttrLeaf
		entries = 32
		if f.sb.v5 {
			entries = 80
		}
	default:
		return nil, corrupt("block %d of the index of inode %d has the magic number %#x", block, i.number, h.magic)
	}
	if n > (len(b)-entries)/8 || h.magic == magicNode && (n == 0 || h.level == 0) {
		return nil, corrupt("block %d of the index of inode %d has %d entries", block, i.number, n)
	}
	h.entries = b[entries : entries+n*8]
	return h, nil
}

// maxIndexLevel bounds the depth of an index by hash; the kernel's bound is 5.
const maxIndexLevel = 5

// leafFor descends from the root of an index to the leaf where a hash is first. It
// returns nil where every hash of the index is lower.
func (f *fsys) leafFor(i *inode, k kind, root uint64, hash uint32) (*hashBlock, error) {
	h, err := f.hashBlock(i, k, root)
	if err != nil {
		return nil, err
	}
	if h.level > maxIndexLevel {
		return nil, corrupt("the index of inode %d has %d levels", i.number, h.level)
	}
	for h.magic == magicNode {
		at := h.firstFrom(hash)
		if at == h.count() {
			return nil, nil
		}
		child := uint64(be.Uint32(h.entries[at*8+4:]))
		below, err := f.hashBlock(i, k, child)
		if err != nil {
			return nil, err
		}
		if below.level != h.level-1 {
			return nil, corrupt("block %d of the index of inode %d is of level %d", child, i.number, below.level)
		}
		h = below
	}
	return h, nil
}
