package ext

// directBlocks is how many blocks the inode maps itself; three trees of 1, 2 and 3 levels
// of blocks of pointers follow.
const directBlocks = 12

// indirectAt finds the run that holds a block in a block map. A pointer of 0 is a hole, of all
// that the pointer would lead to.
func (r *reader) indirectAt(i *inode, block uint32) (run, error) {
	if block < directBlocks {
		return pointerRun(i.blockMap[:4*directBlocks], uint64(block), uint64(block)), nil
	}
	bits := r.sb.blockBits - 2 // of the number of pointers in a block
	first, index := uint64(directBlocks), uint64(block)-directBlocks
	for level := uint(1); level <= 3; level++ {
		if span := uint64(1) << (bits * level); index >= span {
			first, index = first+span, index-span
			continue
		}
		return r.treeAt(i, level, first, index)
	}
	return run{first: uint64(block), length: maxFileBlocks - uint64(block)}, nil
}

// treeAt finds a block in the tree of so many levels whose first block is first.
func (r *reader) treeAt(i *inode, level uint, first, index uint64) (run, error) {
	bits := r.sb.blockBits - 2
	pointer := le.Uint32(i.blockMap[4*(directBlocks+level-1):])
	for {
		span := uint64(1) << (bits * level)
		if pointer == 0 {
			return run{first: first + index, length: span - index}, nil
		}
		b, err := r.block(blockKey{uint64(pointer), i.number}, nil)
		if err != nil {
			return run{}, err
		}
		if level == 1 {
			return pointerRun(b, index, first+index), nil
		}
		level--
		child := index >> (bits * level)
		first, index = first+child<<(bits*level), index&(1<<(bits*level)-1)
		pointer = le.Uint32(b[4*child:])
	}
}

// pointerRun is the run that begins with the pointer at index, for as long as the next
// ones continue it.
func pointerRun(pointers []byte, index, first uint64) run {
	at := func(n uint64) uint64 { return uint64(le.Uint32(pointers[4*n:])) }
	found := run{first: first, length: 1, place: at(index)}
	found.data = found.place != 0
	for n := index + 1; n < uint64(len(pointers)/4); n++ {
		want := uint64(0)
		if found.data {
			want = found.place + found.length
		}
		if at(n) != want {
			break
		}
		found.length++
	}
	return found
}
