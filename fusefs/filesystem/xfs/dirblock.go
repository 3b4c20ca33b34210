package xfs

import "vmsync/fusefs/filesystem"

// Parts of a block of directory entries.
const (
	dirHeaderV4 = 16
	dirHeaderV5 = 64
	dirFreeTag  = 0xffff // where an entry would have its inode number
	dirAlign    = 8
	// dirTail is the count of entries, and of stale ones, at the end of a directory that is one block.
	dirTail = 8
	// maxCollisions bounds how many leaves a lookup passes that hold one hash only.
	maxCollisions = 4096
)

// dirBlock is a block of directory entries.
type dirBlock struct {
	bytes  []byte
	header int
	end    int        // of the entries
	index  *hashBlock // of a directory that is one block, else nil
}

// dirBlock reads the block of entries at a block of the directory's fork.
func (f *fsys) dirBlock(i *inode, block uint64) (dirBlock, error) {
	d := dirBlock{header: dirHeaderV4}
	single, several := "XD2B", "XD2D"
	if f.sb.v5 {
		d.header = dirHeaderV5
		single, several = "XDB3", "XDD3"
	}
	b, err := f.forkBlock(i, kindDirectory, block, 1<<f.sb.dirBlockLog, func(b []byte, at int64) error {
		if f.sb.v5 && (!checksumOK(b, dirDataCRC) || be.Uint64(b[8:]) != uint64(at)>>9 || be.Uint64(b[40:]) != i.number) {
			return corrupt("block %d of directory %d", block, i.number)
		}
		return nil
	})
	if err != nil {
		return d, err
	}
	d.bytes, d.end = b, len(b)
	switch string(b[:4]) {
	case several:
		return d, nil
	case single:
		n := int64(be.Uint32(b[len(b)-dirTail:]))
		if n > int64(len(b)-dirTail-d.header)/8 {
			return d, corrupt("directory %d has %d entries in a block", i.number, n)
		}
		d.end = len(b) - dirTail - int(n)*8
		d.index = &hashBlock{magic: magicDirLeafN, entries: b[d.end : len(b)-dirTail]}
		return d, nil
	}
	return d, corrupt("block %d of directory %d has the magic number %q", block, i.number, b[:4])
}

// entry decodes the entry at a byte of the block, and returns where the next one is.
func (f *fsys) entry(i *inode, d *dirBlock, at int) (e dirEntry, next int, err error) {
	// Inode number, length of the name, name, kind, and the entry's own place.
	const fixed, tag = 9, 2
	kind := 0
	if f.sb.fileTypes {
		kind = 1
	}
	if at < d.header || at%dirAlign != 0 || at+fixed > d.end {
		return e, 0, corrupt("directory %d has no entry at %d", i.number, at)
	}
	length := int(d.bytes[at+8])
	next = (at + fixed + length + kind + tag + dirAlign - 1) &^ (dirAlign - 1)
	if length == 0 || next > d.end || be.Uint16(d.bytes[at:]) == dirFreeTag {
		return e, 0, corrupt("directory %d has no entry at %d", i.number, at)
	}
	e = dirEntry{name: d.bytes[at+fixed : at+fixed+length], inode: be.Uint64(d.bytes[at:])}
	if f.sb.fileTypes {
		e.kind = d.bytes[at+fixed+length]
	}
	return e, next, nil
}

// walkBlocks goes through a directory that has blocks. It ends early where visit returns false.
func (f *fsys) walkBlocks(i *inode, visit func(dirEntry) bool) error {
	per := uint64(1) << f.sb.dirBlockLog
	limit := uint64(leafSpace) >> f.sb.blockLog
	left := uint64(i.attr.Blocks) >> (f.sb.blockLog - 9)
	for block := uint64(0); block < limit; block += per {
		e, ok, err := f.find(i, &i.data, block)
		if err != nil {
			return err
		}
		if ok {
			block = max(block, e.offset&^(per-1))
		}
		if !ok || block >= limit {
			return nil
		}
		if left < per {
			return corrupt("directory %d has more than its %d blocks", i.number, i.attr.Blocks)
		}
		left -= per
		d, err := f.dirBlock(i, block)
		if err != nil {
			return err
		}
		for at := d.header; at < d.end; {
			if be.Uint16(d.bytes[at:]) == dirFreeTag {
				skip := int(be.Uint16(d.bytes[at+2:]))
				if skip == 0 || skip%dirAlign != 0 {
					return corrupt("directory %d has %d free bytes at %d", i.number, skip, at)
				}
				at += skip
				continue
			}
			entry, next, err := f.entry(i, &d, at)
			if err != nil {
				return err
			}
			if !visit(entry) {
				return nil
			}
			at = next
		}
	}
	return nil
}

// lookupHashed looks a name up by its hash.
func (f *fsys) lookupHashed(i *inode, name string) (filesystem.ID, error) {
	hash := uint32(0)
	if f.sb.asciiCI {
		hash = hashNameCI(name)
	} else {
		hash = hashName(name)
	}
	leaf, err := f.firstLeaf(i, hash)
	if err != nil || leaf == nil {
		return 0, err
	}
	for range maxCollisions {
		n := leaf.firstFrom(hash)
		for ; n < leaf.count() && leaf.hash(n) == hash; n++ {
			found, err := f.matches(i, be.Uint32(leaf.entries[n*8+4:]), name)
			if found != 0 || err != nil {
				return found, err
			}
		}
		if n < leaf.count() || leaf.next == 0 {
			return 0, nil
		}
		// Entries of one hash may go on in the next leaf.
		if leaf, err = f.hashBlock(i, kindDirectory, uint64(leaf.next)); err != nil {
			return 0, err
		}
		if leaf.magic != magicDirLeafN {
			return 0, corrupt("the index of directory %d", i.number)
		}
	}
	return 0, corrupt("the index of directory %d goes in circles", i.number)
}

// firstLeaf returns the leaf of the directory's index where a hash is first. A directory of
// one block has its index in that; its size says that it is one.
func (f *fsys) firstLeaf(i *inode, hash uint32) (*hashBlock, error) {
	if i.size() == uint64(f.sb.blockSize)<<f.sb.dirBlockLog {
		d, err := f.dirBlock(i, 0)
		if err != nil {
			return nil, err
		}
		if d.index != nil {
			return d.index, nil
		}
	}
	leaf, err := f.leafFor(i, kindDirectory, leafSpace>>f.sb.blockLog, hash)
	if err == nil && leaf != nil && leaf.magic != magicDirLeafN {
		return nil, corrupt("the index of directory %d", i.number)
	}
	return leaf, err
}

// matches returns the inode of the entry at an address, which counts 8 bytes, if it has
// the name; 0 if not. Entries that were removed have the address 0.
func (f *fsys) matches(i *inode, address uint32, name string) (filesystem.ID, error) {
	if address == 0 {
		return 0, nil
	}
	at := uint64(address) * dirAlign
	size := uint64(f.sb.blockSize) << f.sb.dirBlockLog
	if at >= leafSpace {
		return 0, corrupt("the index of directory %d points to byte %d", i.number, at)
	}
	d, err := f.dirBlock(i, (at/size)<<f.sb.dirBlockLog)
	if err != nil {
		return 0, err
	}
	e, _, err := f.entry(i, &d, int(at%size))
	if err != nil || !f.sameName(e.name, name) {
		return 0, err
	}
	return filesystem.ID(e.inode), nil
}
