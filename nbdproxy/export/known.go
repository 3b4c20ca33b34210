package export

import (
	"context"
	"iter"
	"math"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

// known is what the receiver of a disk already has: a hash of each block. It may be of another
// size than the disk; beyond its end the receiver has zeros.
type known struct {
	index blockindex.Chain
	// odd is the block in which the smaller one of the two ends, if it does so in
	// the block's midst: of another length in the one than in the other, and so not to be
	// compared. -1 if there is none.
	odd int64
	// part is set if nothing is known of blocks that are not in the index.
	part bool
}

// newKnown is nil for a nil index. size is the disk's, in bytes; part says that nothing is
// known of blocks that are not in the index.
func newKnown(index *blockindex.File, size int64, part bool) *known {
	if index == nil {
		return nil
	}
	k := &known{index: blockindex.Chain{index}, odd: -1, part: part}
	if end := min(index.Size(), size); index.Size() != size && end%granule != 0 {
		k.odd = end / granule
	}
	return k
}

// has tells whether the receiver's block has this hash. It is safe for concurrent use.
func (k *known) has(block int64, h blockindex.Hash) (bool, error) {
	if block == k.odd {
		return false, nil
	}
	if k.part {
		had, present, err := k.index[0].Get(block)
		return present && had == h, err
	}
	had, err := k.index.Lookup(block)
	return had == h, err
}

// other finds the blocks that are not known to be zeros, in ascending order.
type other struct {
	odd   int64
	next  func() (blockindex.Entry, error, bool)
	stop  func()
	block int64 // the last one that next gave
}

// other begins at the first block. The caller calls stop.
func (k *known) other(ctx context.Context) *other {
	o := &other{odd: k.odd, block: -1}
	o.next, o.stop = iter.Pull2(k.index.Blocks(ctx))
	return o
}

// seek is the first such block from a block on, which must not be below the last one
// asked for; [math.MaxInt64] if there is none.
func (o *other) seek(block int64) (int64, error) {
	for o.block < block {
		e, err, more := o.next()
		if err != nil {
			return 0, err
		}
		if o.block = e.Block; !more {
			o.block = math.MaxInt64
		}
	}
	if o.odd >= block {
		return min(o.odd, o.block), nil
	}
	return o.block, nil
}

// parts calls emit for the parts of an extent of zeros that lie in blocks not known to be
// zeros, and returns how many bytes the other parts have. Extents come in ascending order.
func (o *other) parts(e stream.Extent, emit func(stream.Extent) error) (same int64, err error) {
	same = e.Length
	for from := e.Offset; from < e.End(); {
		block, err := o.seek(from / granule)
		if err != nil {
			return 0, err
		}
		if block > (e.End()-1)/granule {
			break
		}
		part := stream.Extent{Offset: max(from, block*granule)}
		from = min(e.End(), (block+1)*granule)
		part.Length = from - part.Offset
		same -= part.Length
		if err := emit(part); err != nil {
			return 0, err
		}
	}
	return same, nil
}
