package xfs

import "math/bits"

// Flags of an item that is a buffer; from typeShift on they tell what it holds.
const (
	bufferInodes    = 1 << 0 // only the lists of inodes without names
	bufferCancel    = 1 << 1
	bufferDquots    = 1<<2 | 1<<3 | 1<<4
	bufferTypeShift = 11

	bufferChunk = 128 // bytes of the buffer that one bit of the map stands for
)

// What a buffer holds.
const (
	typeBTree     = 4
	typeAGF       = 5
	typeAGFL      = 6
	typeAGI       = 7
	typeInodes    = 8
	typeSymlink   = 9
	typeDirBlock  = 10
	typeDirData   = 11
	typeDirFree   = 12
	typeDirLeaf1  = 13
	typeDirLeafN  = 14
	typeNode      = 15
	typeAttrLeaf  = 16
	typeAttrValue = 17
	typeSB        = 18
)

// bufferItem describes a buffer of which parts were logged: kind, regions, flags, blocks
// (2 bytes each), address (8), words of the map (4), the map.
type bufferItem struct {
	buffer
	flags uint16
	words []byte
}

func parseBufferItem(item *item) (bufferItem, error) {
	const fixed = 20
	b := item.regions[0]
	if len(b) < fixed || uint64(le.Uint32(b[16:])) > uint64(len(b)-fixed)/4 {
		return bufferItem{}, needsReplay("the log has a broken item of a buffer")
	}
	return bufferItem{
		buffer: buffer{int64(le.Uint64(b[8:])), int(le.Uint16(b[6:]))},
		flags:  le.Uint16(b[4:]),
		words:  b[fixed : fixed+4*le.Uint32(b[16:])],
	}, nil
}

// next returns the run of set bits of the map at or after a bit; a count of 0 is the end.
func (b *bufferItem) next(from int) (first, count int) {
	total := len(b.words) * 8
	set := func(n int) bool { return le.Uint32(b.words[n/32*4:])>>(n%32)&1 != 0 }
	for first = from; first < total && !set(first); first++ {
		if word := le.Uint32(b.words[first/32*4:]) >> (first % 32); word == 0 {
			first |= 31
		} else {
			first += bits.TrailingZeros32(word) - 1
		}
	}
	for first+count < total && set(first+count) {
		count++
	}
	return first, count
}

// bufferItem replays a buffer, unless what is on the device is newer.
func (r *replayer) bufferItem(t *transaction, item *item) error {
	logged, err := parseBufferItem(item)
	if err != nil {
		return err
	}
	if logged.flags&bufferCancel != 0 {
		if r.cancelled[logged.buffer]--; r.cancelled[logged.buffer] <= 0 {
			delete(r.cancelled, logged.buffer)
		}
		return nil
	}
	if r.cancelled[logged.buffer] > 0 || logged.flags&(bufferInodes|bufferDquots) != 0 {
		return nil
	}
	b, at, err := r.read(logged.buffer)
	if err != nil {
		return err
	}
	if r.sb.v5 {
		if lsn, ok := r.sb.bufferLSN(b); ok && lsn != 0 && lsn >= t.lsn {
			return nil
		}
	}
	bit, n := 0, 1
	for {
		first, count := logged.next(bit)
		if count == 0 {
			break
		}
		if n >= len(item.regions) {
			return needsReplay("the log has a buffer at %d with parts missing", logged.block)
		}
		// A run of bits may be logged as several regions.
		region := item.regions[n]
		n++
		count = min(count, len(region)/bufferChunk)
		if count == 0 || (first+count)*bufferChunk > len(b) {
			return needsReplay("the log has a buffer at %d with parts outside of it", logged.block)
		}
		copy(b[first*bufferChunk:], region[:count*bufferChunk])
		bit = first + count
	}
	if r.sb.v5 {
		r.sb.sum(b, logged.flags>>bufferTypeShift)
	}
	return r.over.write(b, at)
}

// isShortTree says whether a magic number is that of a tree within a group, which have all
// one header.
func isShortTree(magic string) bool {
	switch magic {
	case "AB3B", "AB3C", "IAB3", "FIB3", "RMB3", "R3FC", "ABTB", "ABTC", "IABT", "FIBT":
		return true
	}
	return false
}

// bufferLSN returns the LSN of the last change of the metadata in b, as far as it can be
// told what that is, and is this filesystem's.
func (sb *superblock) bufferLSN(b []byte) (uint64, bool) {
	lsn, id := 0, 0
	switch magic := string(b[:4]); {
	case isShortTree(magic):
		lsn, id = 24, 32
	case magic == "BMA3" || magic == "BMAP":
		lsn, id = 32, 40
	case magic == "XAGF":
		lsn, id = 208, 64
	case magic == "XAFL":
		lsn, id = 24, 8
	case magic == "XAGI":
		lsn, id = 320, 296
	case magic == "XSLM":
		lsn, id = 48, 16
	case magic == "XDB3" || magic == "XDD3" || magic == "XDF3":
		lsn, id = 16, 24
	case magic == "XARM":
		return 0, false
	case magic == "XFSB":
		lsn, id = 240, 32
		if sb.metaUUID != sb.uuid {
			id = 248
		}
	default:
		switch be.Uint16(b[8:]) {
		case magicDirLeaf1V5, magicDirLeafNV5, magicNodeV5, magicAttrLeafV5:
			lsn, id = 24, 32
		default:
			return 0, false
		}
	}
	if [16]byte(b[id:id+16]) != sb.metaUUID {
		return 0, false
	}
	value := be.Uint64(b[lsn:])
	return value, value != ^uint64(0)
}

// sum renews the checksum of a buffer after a change, as a write of it does.
func (sb *superblock) sum(b []byte, holds uint16) {
	switch holds {
	case typeBTree:
		switch magic := string(b[:4]); {
		case magic == "BMA3":
			setChecksum(b, longTreeCRC)
		case isShortTree(magic):
			setChecksum(b, shortTreeCRC)
		}
	case typeAGF:
		setChecksum(b, agfCRC)
	case typeAGFL:
		setChecksum(b, agflCRC)
	case typeAGI:
		setChecksum(b, agiCRC)
	case typeInodes:
		for ; len(b) >= sb.inodeSize; b = b[sb.inodeSize:] {
			if be.Uint16(b) == inodeMagic {
				setChecksum(b[:sb.inodeSize], inodeCRC)
			}
		}
	case typeSymlink, typeAttrValue:
		setChecksum(b, remoteCRC)
	case typeDirBlock, typeDirData, typeDirFree:
		setChecksum(b, dirDataCRC)
	case typeDirLeaf1, typeDirLeafN, typeNode, typeAttrLeaf:
		setChecksum(b, daCRC)
	case typeSB:
		setChecksum(b, superblockCRC)
	}
}
