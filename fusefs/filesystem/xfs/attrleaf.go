package xfs

// attrLeaves reads the attributes of a fork that has blocks, from the leftmost leaf on.
func (f *fsys) attrLeaves(i *inode, x *xattrs) error {
	leaf, err := f.leafFor(i, kindAttributes, 0, 0)
	if err != nil {
		return err
	}
	for range maxAttrLeaves {
		if leaf == nil || leaf.magic != magicAttrLeaf {
			return corrupt("the index of the attributes of inode %d", i.number)
		}
		for n := range leaf.count() {
			if err := f.attrEntry(i, x, leaf, n); err != nil {
				return err
			}
		}
		if leaf.next == 0 {
			return nil
		}
		if leaf, err = f.hashBlock(i, kindAttributes, uint64(leaf.next)); err != nil {
			return err
		}
	}
	return corrupt("the index of the attributes of inode %d goes in circles", i.number)
}

// attrEntry reads an entry of a leaf: hash, place of the name in the leaf, flags.
func (f *fsys) attrEntry(i *inode, x *xattrs, leaf *hashBlock, n int) error {
	entry := leaf.entries[n*8:]
	at, flags := int(be.Uint16(entry[4:])), entry[6]
	if flags&(attrParent|attrIncomplete) != 0 {
		return nil
	}
	b := leaf.bytes
	const local, remote = 3, 9 // bytes before the name
	if at > len(b)-local || flags&attrLocal == 0 && at > len(b)-remote {
		return corrupt("attribute %d of inode %d", n, i.number)
	}
	if flags&attrLocal != 0 {
		value, name := int(be.Uint16(b[at:])), int(b[at+2])
		at += local
		if name+value > len(b)-at {
			return corrupt("attribute %d of inode %d", n, i.number)
		}
		return x.add(flags, b[at:at+name], b[at+name:at+name+value])
	}
	block, size, name := be.Uint32(b[at:]), be.Uint32(b[at+4:]), int(b[at+8])
	at += remote
	if name > len(b)-at || size > maxValue {
		return corrupt("attribute %d of inode %d", n, i.number)
	}
	value, err := f.remoteValue(i, uint64(block), int(size))
	if err != nil {
		return err
	}
	return x.add(flags, b[at:at+name], value)
}

// remoteValue reads a value that has blocks of its own. In version 5 each has a header.
func (f *fsys) remoteValue(i *inode, block uint64, size int) ([]byte, error) {
	value := make([]byte, 0, size)
	b := make([]byte, f.sb.blockSize)
	for ; len(value) < size; block++ {
		e, ok, err := f.find(i, &i.attrs, block)
		if err != nil {
			return nil, err
		}
		if !ok || e.offset > block {
			return nil, corrupt("block %d of the attributes of inode %d is a hole", block, i.number)
		}
		at, err := f.sb.address(e.block+block-e.offset, 1)
		if err != nil {
			return nil, err
		}
		if _, err := f.dev.ReadAt(b, at); err != nil {
			return nil, err
		}
		left := size - len(value)
		if !f.sb.v5 {
			value = append(value, b[:min(left, len(b))]...)
			continue
		}
		n := int(be.Uint32(b[8:]))
		if string(b[:4]) != "XARM" || !checksumOK(b, remoteCRC) || be.Uint64(b[32:]) != i.number ||
			be.Uint32(b[4:]) != uint32(len(value)) || be.Uint64(b[40:]) != uint64(at)>>9 ||
			n == 0 || n > left || n > len(b)-remoteHeader {
			return nil, corrupt("block %d of the attributes of inode %d", block, i.number)
		}
		value = append(value, b[remoteHeader:remoteHeader+n]...)
	}
	return value, nil
}
