package xfs

import (
	"fmt"
	"math/bits"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// The log is a ring of basic blocks. Each begins with the number of the turn in which it
// was written, the cycle; a record's header keeps the words that are displaced by that.
const (
	basicBlock    = 512
	recordMagic   = 0xfeedbabe
	cycleSpan     = 32 << 10 // bytes that one header keeps the words of
	maxRecord     = 256 << 10
	maxRecordV1   = 32 << 10
	maxInFlight   = 8 // records that are written at once, at most
	formatLinuxLE = 1
)

func needsReplay(format string, args ...any) error {
	return fmt.Errorf("%w: %s", filesystem.ErrNeedsReplay, fmt.Sprintf(format, args...))
}

// journal is the log in the filesystem.
type journal struct {
	dev    device.Device
	sb     *superblock
	start  int64 // byte of the device
	blocks int   // basic blocks
}

func openJournal(d device.Device, sb *superblock) (*journal, error) {
	if sb.logStart == 0 {
		return nil, needsReplay("the log is on another device")
	}
	at, err := sb.address(sb.logStart, uint64(sb.logBlocks))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	size := int64(sb.logBlocks) << sb.blockLog
	const least, most = 128 << 10, 1 << 31
	if size < least || size > most {
		return nil, corrupt("a log of %d bytes", size)
	}
	return &journal{dev: d, sb: sb, start: at, blocks: int(size / basicBlock)}, nil
}

// read returns n blocks from block on, around the end of the ring.
func (j *journal) read(block, n int) ([]byte, error) {
	b := make([]byte, n*basicBlock)
	first := min(n, j.blocks-block)
	if _, err := j.dev.ReadAt(b[:first*basicBlock], j.start+int64(block)*basicBlock); err != nil {
		return nil, err
	}
	if first < n {
		if _, err := j.dev.ReadAt(b[first*basicBlock:], j.start); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// wrap returns a block's place in the ring.
func (j *journal) wrap(block int) int { return (block%j.blocks + j.blocks) % j.blocks }

// distance is how many blocks there are from one block to another.
func (j *journal) distance(from, to int) int { return j.wrap(to - from) }

// cycleOf returns the cycle in which a block was written.
func cycleOf(b []byte) uint32 {
	if word := be.Uint32(b); word != recordMagic {
		return word
	}
	return be.Uint32(b[4:])
}

func (j *journal) cycle(block int) (uint32, error) {
	b, err := j.read(block, 1)
	if err != nil {
		return 0, err
	}
	return cycleOf(b), nil
}

// record is the header of a record of the log.
type record struct {
	block  int
	header []byte // with the headers that follow it
	cycle  uint32
	length int // bytes of data
	lsn    uint64
	tail   uint64 // the LSN from which on replay is needed
	crc    uint32
	ops    int
}

func (r *record) headerBlocks() int { return len(r.header) / basicBlock }
func (r *record) total() int        { return r.headerBlocks() + (r.length+basicBlock-1)/basicBlock }

// record reads the header at a block; nil where there is none.
func (j *journal) record(block int) (*record, error) {
	b, err := j.read(block, 1)
	if err != nil {
		return nil, err
	}
	if be.Uint32(b) != recordMagic {
		return nil, nil
	}
	version, length, size := be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint32(b[320:])
	most := uint32(maxRecordV1)
	headers := 1
	if j.sb.logV2 && version&2 != 0 {
		most = maxRecord
		if size > maxRecord {
			return nil, nil
		}
		headers = max(1, int(size+cycleSpan-1)/cycleSpan)
	}
	if version == 0 || version > 3 || length > most || int(length) > headers*cycleSpan && be.Uint32(b[40:]) != 1 {
		return nil, nil
	}
	r := &record{
		block: block, cycle: be.Uint32(b[4:]), length: int(length), header: b,
		lsn: be.Uint64(b[16:]), tail: be.Uint64(b[24:]),
		crc: uint32(b[32]) | uint32(b[33])<<8 | uint32(b[34])<<16 | uint32(b[35])<<24,
		ops: int(be.Uint32(b[40:])),
	}
	if headers > 1 {
		if r.header, err = j.read(block, headers); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// data returns a record's data as it is on the device.
func (j *journal) data(r *record) ([]byte, error) {
	b, err := j.read(j.wrap(r.block+r.headerBlocks()), (r.length+basicBlock-1)/basicBlock)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// unpack puts the words back that the cycle numbers have displaced.
func (r *record) unpack(b []byte) error {
	const perHeader = cycleSpan / basicBlock
	for n := range len(b) / basicBlock {
		header, word := n/perHeader, n%perHeader
		at := header*basicBlock + 4 + word*4
		if header == 0 {
			at = 44 + word*4
		}
		if header >= r.headerBlocks() {
			return needsReplay("the record at block %d of the log is longer than its header", r.block)
		}
		copy(b[n*basicBlock:n*basicBlock+4], r.header[at:at+4])
	}
	return nil
}

// uuidOK says whether a record is this filesystem's; old kernels wrote none.
func (r *record) uuidOK(sb *superblock) bool {
	id := [16]byte(r.header[304:320])
	return id == sb.uuid || id == [16]byte{}
}

// find returns the first of n blocks from start on that has a cycle, or -1.
func (j *journal) find(start, n int, cycle uint32) (int, error) {
	const chunk = 2048
	for n > 0 {
		m := min(n, chunk)
		b, err := j.read(start, m)
		if err != nil {
			return 0, err
		}
		for i := range m {
			if cycleOf(b[i*basicBlock:]) == cycle {
				return start + i, nil
			}
		}
		start, n = start+m, n-m
	}
	return -1, nil
}

// firstOf searches for the first block of a cycle by halves: first has a later cycle
// (or, in a log that is not full yet, the only one), last has that cycle.
func (j *journal) firstOf(first, last int, cycle uint32) (int, error) {
	for range bits.Len(uint(j.blocks)) + 1 {
		if last-first <= 1 {
			break
		}
		middle := (first + last) / 2
		c, err := j.cycle(middle)
		if err != nil {
			return 0, err
		}
		if c == cycle {
			last = middle
		} else {
			first = middle
		}
	}
	return last, nil
}
