package xfs

// Parts of an inode that are logged.
const (
	logCore     = 0x001
	logData     = 0x002
	logExtents  = 0x004
	logRoot     = 0x008
	logDevice   = 0x010
	logAttrData = 0x040
	logAttrExt  = 0x080
	logAttrRoot = 0x100

	logDataFork = logData | logExtents | logRoot
	logAttrFork = logAttrData | logAttrExt | logAttrRoot
)

// inodeItem is the description of an inode that was logged: kind, regions (2 bytes each),
// parts (4), bytes of the attribute and data forks (2 each), inode (8), device number (16),
// address of its buffer (8), blocks of that, its place in that (4 each).
type inodeItem struct {
	fields uint32
	number uint64
	device uint32
	buffer buffer
	offset int
}

func parseInodeItem(item *item) (inodeItem, error) {
	b := item.regions[0]
	// Kernels of 32 bits leave out four bytes before the inode number.
	const long, short = 56, 52
	if len(b) != long && len(b) != short || item.total < 2 || item.total > 4 {
		return inodeItem{}, needsReplay("the log has a broken item of an inode")
	}
	rest := b[len(b)-40:]
	return inodeItem{
		fields: le.Uint32(b[4:]),
		number: le.Uint64(rest),
		device: le.Uint32(rest[8:]),
		// The length is in basic blocks.
		buffer: buffer{int64(le.Uint64(rest[24:])), int(int32(le.Uint32(rest[32:])))},
		offset: int(int32(le.Uint32(rest[36:]))),
	}, nil
}

// inodeItem replays an inode, unless the one on the device is newer.
func (r *replayer) inodeItem(t *transaction, item *item) error {
	logged, err := parseInodeItem(item)
	if err != nil {
		return err
	}
	if r.cancelled[logged.buffer] > 0 {
		return nil
	}
	b, at, err := r.read(logged.buffer)
	if err != nil {
		return err
	}
	if logged.offset < 0 || logged.offset > len(b)-r.sb.inodeSize || logged.fields&logCore == 0 {
		return needsReplay("the log has a broken item of inode %d", logged.number)
	}
	at += int64(logged.offset)
	b = b[logged.offset : logged.offset+r.sb.inodeSize]
	core := item.regions[1]
	// Version 4 does not log the link to the next inode without a name.
	size, least := inodeSizeV2, inodeSizeV2-4
	if r.sb.v5 {
		size, least = inodeSizeV3, inodeSizeV3
	}
	if be.Uint16(b) != inodeMagic || len(core) < least || le.Uint16(core) != inodeMagic || (core[4] == 3) != r.sb.v5 {
		return needsReplay("the log writes inode %d where none is", logged.number)
	}
	if r.sb.v5 {
		if lsn := be.Uint64(b[112:]); lsn != 0 && lsn != ^uint64(0) && lsn > t.lsn {
			return nil
		}
	} else if flushed(b, core) {
		return nil
	}
	r.sb.core(b, core, t.lsn)
	if logged.fields&logDevice != 0 {
		be.PutUint32(b[size:], logged.device)
	}
	if err := logged.forks(b[size:], item, int(b[82])*8, r.sb.v5); err != nil {
		return err
	}
	if r.sb.v5 {
		setChecksum(b, inodeCRC)
	}
	return r.over.write(b, at)
}

// flushed says whether an inode of version 4 on the device is newer than that in the log,
// by a counter of its writes that starts over.
func flushed(b, core []byte) bool {
	const at, last = 30, 0xffff
	onDisk, inLog := be.Uint16(b[at:]), le.Uint16(core[at:])
	return inLog < onDisk && !(onDisk == last && inLog < last>>1)
}

// swapped are the fields of an inode by place and size, which the log has in the byte order
// of the machine that wrote it. Left out are times and what version 4 has not.
var swapped = [...][2]int{{0, 2}, {2, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 2}, {22, 2}, {56, 8}, {64, 8}, {72, 4},
	{84, 4}, {88, 2}, {90, 2}, {92, 4}}

var swappedV5 = [...][2]int{{104, 8}, {120, 8}, {128, 4}, {152, 8}}

// core puts an inode's core, as it is logged, where it belongs on the device.
func (sb *superblock) core(b, core []byte, lsn uint64) {
	swap := func(at, size int) {
		for n := range size {
			b[at+n] = core[at+size-1-n]
		}
	}
	for _, field := range swapped {
		swap(field[0], field[1])
	}
	b[4], b[5], b[82], b[83] = core[4], core[5], core[82], core[83]
	// Links of version 1, which is written as version 2; the kind of metadata since then.
	be.PutUint16(b[6:], 0)
	times := []int{32, 40, 48}
	var flags uint64
	if sb.v5 {
		for _, field := range swappedV5 {
			swap(field[0], field[1])
		}
		flags = le.Uint64(core[120:])
		be.PutUint64(b[112:], lsn)
		clear(b[132:144])
		copy(b[160:176], core[160:176])
		clear(b[24:32])
		times = append(times, 144)
	} else {
		clear(b[24:32])
	}
	for _, at := range times {
		if flags&flag2BigTime != 0 {
			swap(at, 8)
		} else {
			swap(at, 4)
			swap(at+4, 4)
		}
	}
	if flags&flag2NrExt64 != 0 {
		swap(24, 8)
		swap(76, 4)
		swap(80, 2)
	} else {
		swap(76, 4)
		swap(80, 2)
	}
}

// forks puts what was logged of the two forks into the rest of the inode.
func (l *inodeItem) forks(rest []byte, item *item, split int, v5 bool) error {
	data, attrs := rest, []byte(nil)
	if split > len(rest) {
		return needsReplay("the log has inode %d with attributes at %d", l.number, split)
	}
	if split != 0 {
		data, attrs = rest[:split], rest[split:]
	}
	n := 2
	for _, part := range []struct {
		fork         []byte
		fields, root uint32
	}{{data, l.fields & logDataFork, logRoot}, {attrs, l.fields & logAttrFork, logAttrRoot}} {
		if part.fields == 0 {
			continue
		}
		if n >= len(item.regions) {
			// Logged as changed, and empty.
			return nil
		}
		region := item.regions[n]
		n++
		if part.fields == part.root {
			if !putRoot(part.fork, region, v5) {
				return needsReplay("the log has inode %d with a broken tree", l.number)
			}
			continue
		}
		if len(region) > len(part.fork) {
			return needsReplay("the log has inode %d with a fork of %d bytes", l.number, len(region))
		}
		copy(part.fork, region)
	}
	return nil
}

// putRoot turns the root of a tree of extents as it is in memory, a whole block, into what
// an inode has of it.
func putRoot(fork, block []byte, v5 bool) bool {
	header := 24
	if v5 {
		header = 72
	}
	if len(block) < header || len(fork) < 4 {
		return false
	}
	count := int(be.Uint16(block[6:]))
	from, to := (len(block)-header)/16, (len(fork)-4)/16
	if count > from || count > to {
		return false
	}
	copy(fork[:4], block[4:8])
	copy(fork[4:], block[header:header+count*8])
	copy(fork[4+to*8:], block[header+from*8:header+from*8+count*8])
	return true
}

// createItem replays the making of a chunk of inodes: kind and regions (2 bytes each), then
// big-endian group, block, inodes, size of one, blocks, generation (4 each).
func (r *replayer) createItem(item *item) error {
	b := item.regions[0]
	if len(b) < 28 || !r.sb.v5 {
		return needsReplay("the log has a broken item of new inodes")
	}
	group, block, count := be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[12:])
	size, blocks, generation := be.Uint32(b[16:]), be.Uint32(b[20:]), be.Uint32(b[24:])
	const most = 64 << 10 // inodes: more than a chunk of 64, or a block full
	if int(size) != r.sb.inodeSize || count == 0 || count > most || uint64(count)<<r.sb.inodeLog != uint64(blocks)<<r.sb.blockLog {
		return needsReplay("the log makes %d inodes of %d bytes in %d blocks", count, size, blocks)
	}
	number := uint64(group)<<r.sb.agBlockLog | uint64(block)
	at, err := r.sb.address(number, uint64(blocks))
	if err != nil {
		return needsReplay("the log makes inodes at block %d of group %d", block, group)
	}
	if r.chunkCancelled(at, int64(blocks)<<r.sb.blockLog) {
		return nil
	}
	inode := make([]byte, r.sb.inodeSize)
	for n := range uint64(count) {
		clear(inode)
		be.PutUint16(inode, inodeMagic)
		inode[4] = 3
		be.PutUint32(inode[92:], generation)
		be.PutUint32(inode[96:], 0xffffffff)
		be.PutUint64(inode[152:], number<<r.sb.inodesLog+n)
		copy(inode[160:], r.sb.metaUUID[:])
		setChecksum(inode, inodeCRC)
		if err := r.over.write(inode, at+int64(n)<<r.sb.inodeLog); err != nil {
			return err
		}
	}
	return nil
}

// chunkCancelled says whether the buffers of a chunk of inodes are given up later on.
func (r *replayer) chunkCancelled(at, size int64) bool {
	cluster := r.sb.clusterSize()
	for off := int64(0); off < size; off += cluster {
		if r.cancelled[buffer{(at + off) / basicBlock, int(cluster / basicBlock)}] > 0 {
			return true
		}
	}
	return false
}

// clusterSize is how many bytes of inodes the kernel reads and writes at once, in version 5:
// 32 inodes, where chunks are aligned to that.
func (sb *superblock) clusterSize() int64 {
	const base, smallest = 8192, 256
	size := int64(base)
	if larger := size * int64(sb.inodeSize) / smallest; int64(sb.inodeAlign)<<sb.blockLog >= larger {
		size = larger
	}
	return max(size, sb.blockSize)
}
