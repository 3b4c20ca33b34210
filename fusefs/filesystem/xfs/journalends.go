package xfs

import "hash/crc32"

// inFlightBlocks is how far before the head blocks may be missing, because records are
// written at the same time and end in any order.
func (j *journal) inFlightBlocks() int { return min(maxInFlight*j.maxRecordBlocks(), j.blocks) }

func (j *journal) maxRecordBlocks() int {
	if j.sb.logV2 {
		return maxRecord / basicBlock
	}
	return maxRecordV1 / basicBlock
}

// head returns the block at which the log would be written next: where the cycle falls.
// Records that were not written whole are after it. empty says that nothing was ever written.
func (j *journal) head() (head int, empty bool, err error) {
	first, err := j.cycle(0)
	if err != nil {
		return 0, false, err
	}
	last, err := j.cycle(j.blocks - 1)
	if err != nil {
		return 0, false, err
	}
	switch {
	case first == 0:
		return 0, true, nil
	case last == 0 && first != 1:
		return 0, false, needsReplay("the log begins with cycle %d and ends with none", first)
	case first == last:
		head, err = j.headOfWhole(last)
	default:
		head, err = j.headBetween(last)
	}
	if err != nil {
		return 0, false, err
	}
	head, err = j.beforePartial(head)
	return j.wrap(head), false, err
}

// headOfWhole finds the head of a log that has one cycle from begin to end, but for a hole
// of the cycle before, which a write that did not happen has left.
func (j *journal) headOfWhole(cycle uint32) (int, error) {
	n := j.inFlightBlocks()
	hole, err := j.find(j.blocks-n, n, cycle-1)
	if err != nil || hole < 0 {
		return j.blocks, err
	}
	return hole, nil
}

// headBetween finds the first block of the cycle that the log ends with.
func (j *journal) headBetween(cycle uint32) (int, error) {
	head, err := j.firstOf(0, j.blocks-1, cycle)
	if err != nil {
		return 0, err
	}
	n := j.inFlightBlocks()
	if head < n && cycle != 0 {
		// A hole at the end of the ring, of the cycle before.
		back := n - head
		hole, err := j.find(j.blocks-back, back, cycle-1)
		if err != nil || hole >= 0 {
			return hole, err
		}
	}
	n = min(n, head)
	hole, err := j.find(head-n, n, cycle)
	if err != nil || hole < 0 {
		return head, err
	}
	return hole, nil
}

// beforePartial moves the head back before a record that ends after it.
func (j *journal) beforePartial(head int) (int, error) {
	r, err := j.recordBefore(head, j.maxRecordBlocks()+maxRecord/cycleSpan)
	if err != nil {
		return 0, err
	}
	if r == nil {
		return 0, needsReplay("the log has no record before its head at block %d", head)
	}
	distance := j.distance(r.block, j.wrap(head))
	if distance == 0 {
		distance = j.blocks
	}
	if distance != r.total() {
		return r.block, nil
	}
	return head, nil
}

// headerBefore returns the last of the n blocks before block that begins a record, or -1.
func (j *journal) headerBefore(block, n int) (int, error) {
	for back := 1; back <= min(n, j.blocks); back++ {
		at := j.wrap(block - back)
		b, err := j.read(at, 1)
		if err != nil {
			return 0, err
		}
		if be.Uint32(b) == recordMagic {
			return at, nil
		}
	}
	return -1, nil
}

// recordBefore returns the last record of which the header is among the n blocks before block.
func (j *journal) recordBefore(block, n int) (*record, error) {
	at, err := j.headerBefore(block, n)
	if err != nil || at < 0 {
		return nil, err
	}
	r, err := j.record(at)
	if err == nil && r == nil {
		err = needsReplay("the record at block %d of the log", at)
	}
	return r, err
}

// unmounted says whether a record, which ends at head, is what an unmount leaves.
func (j *journal) unmounted(r *record, head int) (bool, error) {
	const flagsAt, unmount = 9, 0x20
	if r.ops != 1 || r.length == 0 || j.wrap(r.block+r.total()) != head {
		return false, nil
	}
	b, err := j.read(j.wrap(r.block+r.headerBlocks()), 1)
	if err != nil {
		return false, err
	}
	return b[flagsAt]&unmount != 0, nil
}

// dirty returns the blocks of the records that have to be replayed, in order; none after an
// unmount.
func (j *journal) dirty() ([]int, error) {
	head, empty, err := j.head()
	if err != nil || empty {
		return nil, err
	}
	// A second try, with an earlier head, is for a last write that was torn.
	for range 2 {
		last, err := j.recordBefore(head, j.maxRecordBlocks()+maxRecord/cycleSpan)
		if err != nil {
			return nil, err
		}
		if last == nil {
			return nil, needsReplay("the log has no record before its head at block %d", head)
		}
		if clean, err := j.unmounted(last, head); clean || err != nil {
			return nil, err
		}
		tail := int(uint32(last.tail))
		if tail >= j.blocks {
			return nil, needsReplay("the log's tail is at block %d of %d", tail, j.blocks)
		}
		records, bad, err := j.between(tail, head)
		if err != nil || bad < 0 {
			return records, err
		}
		torn, err := j.mayBeTorn(bad, head)
		if err != nil {
			return nil, err
		}
		if !torn || len(records) == 0 {
			return nil, needsReplay("the record at block %d of the log is damaged", bad)
		}
		head = bad
	}
	return nil, needsReplay("the log is damaged before block %d", head)
}

// mayBeTorn says whether the record at a block is among the last ones, which may have been
// under way together.
func (j *journal) mayBeTorn(block, head int) (bool, error) {
	at := head
	for range maxInFlight {
		if at == block {
			break
		}
		r, err := j.headerBefore(at, j.distance(block, at))
		if err != nil || r < 0 {
			return false, err
		}
		at = r
	}
	return at == block, nil
}

// between lists the blocks of the records from tail to head. bad is that of the first one
// that is damaged, which ends the list, or -1.
func (j *journal) between(tail, head int) (records []int, bad int, err error) {
	left := j.distance(tail, head)
	at, before := tail, uint64(0)
	for left > 0 {
		r, err := j.record(at)
		if err != nil {
			return nil, 0, err
		}
		if r == nil || r.total() > left || uint32(r.lsn) != uint32(at) || r.length == 0 || r.lsn <= before {
			return records, at, nil
		}
		before = r.lsn
		ok, err := j.intact(r)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return records, at, nil
		}
		records = append(records, at)
		at, left = j.wrap(at+r.total()), left-r.total()
	}
	return records, -1, nil
}

// intact checks a record's checksum, which mkfs and old kernels leave out.
func (j *journal) intact(r *record) (bool, error) {
	if r.crc == 0 {
		return true, nil
	}
	b, err := j.data(r)
	if err != nil {
		return false, err
	}
	// A kernel of 32 bits counted four bytes less of the header.
	for _, size := range []int{328, 324} {
		if r.checksum(b[:r.length], size) == r.crc {
			return true, nil
		}
	}
	return false, nil
}

// checksum is the sum of a record: of so many bytes of the header, of the headers that
// follow it, and of the data.
func (r *record) checksum(data []byte, size int) uint32 {
	const at, extended = 32, 260
	sum := crc32.Update(0, castagnoli, r.header[:at])
	sum = crc32.Update(sum, castagnoli, noSum[:])
	sum = crc32.Update(sum, castagnoli, r.header[at+4:size])
	used := (len(data) + cycleSpan - 1) / cycleSpan
	for n := 1; n < min(used, r.headerBlocks()); n++ {
		sum = crc32.Update(sum, castagnoli, r.header[n*basicBlock:n*basicBlock+extended])
	}
	return crc32.Update(sum, castagnoli, data)
}
