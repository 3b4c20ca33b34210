package stream

import (
	"fmt"
	"math/bits"
)

// Coverage is kept per granule of 64 KiB, the usual cluster of qcow2, in chunks
// made when first touched and dropped when full: a stream that comes roughly in
// order needs a few KiB, the worst one 2 MiB per TiB of disk.
const (
	granuleShift = 16
	chunkShift   = 32 // bytes of disk per chunk: 4 GiB
	chunkWords   = 1 << (chunkShift - granuleShift - 6)
)

type chunk struct {
	marked int
	bits   *[chunkWords]uint64 // nil when all are marked
}

// coverage remembers which granules of a disk were covered wholly by an extent.
// It finds an extent that comes again; an overlap of less than a granule escapes
// it.
type coverage struct {
	chunks map[int64]*chunk
}

// mark notes an extent of a disk of size bytes and refuses what is covered twice.
func (c *coverage) mark(e Extent, size int64) error {
	first := (e.Offset + 1<<granuleShift - 1) >> granuleShift
	last := e.End() >> granuleShift // exclusive
	if e.End() == size {
		last = (size + 1<<granuleShift - 1) >> granuleShift
	}
	const perChunk = chunkWords * 64
	for g := first; g < last; {
		next := min(last, (g/perChunk+1)*perChunk)
		if i := g / perChunk; next-g == perChunk && c.chunks[i] == nil {
			c.put(i, &chunk{marked: perChunk})
		} else if !c.chunk(i).mark(g%perChunk, g%perChunk+next-g) {
			return fmt.Errorf("extent of %d bytes at %d overlaps an earlier one", e.Length, e.Offset)
		}
		g = next
	}
	return nil
}

func (c *coverage) chunk(i int64) *chunk {
	k := c.chunks[i]
	if k == nil {
		k = &chunk{bits: new([chunkWords]uint64)}
		c.put(i, k)
	}
	return k
}

func (c *coverage) put(i int64, k *chunk) {
	if c.chunks == nil {
		c.chunks = make(map[int64]*chunk)
	}
	c.chunks[i] = k
}

// mark sets bits from to to (exclusive) and tells whether all of them were clear.
func (k *chunk) mark(from, to int64) bool {
	if k.bits == nil {
		return false
	}
	for from < to {
		word, shift := from/64, uint(from%64)
		n := min(64-int64(shift), to-from)
		mask := (^uint64(0) >> uint(64-n)) << shift
		if k.bits[word]&mask != 0 {
			return false
		}
		k.bits[word] |= mask
		k.marked += bits.OnesCount64(mask)
		from += n
	}
	if k.marked == chunkWords*64 {
		k.bits = nil
	}
	return true
}
