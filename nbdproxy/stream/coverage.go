package stream

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
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

// coverage remembers what of a disk was covered by an extent, and finds one that
// comes again. Granules that were covered wholly are bits; of those that were covered
// in part it keeps the parts, as long as the stream has room for them.
type coverage struct {
	chunks map[int64]*chunk
	parts  map[int64][]part // by granule; ascending, apart from one another
	room   *int             // parts that may still be kept, of all disks
}

// part is a range within a granule.
type part struct{ from, to int32 }

// maxParts bounds the parts of granules that are kept for a stream: at worst some
// 10 MiB. With more, an overlap of less than a granule can go unseen.
const maxParts = 1 << 17

// mark notes an extent of a disk of size bytes and refuses what is covered twice.
func (c *coverage) mark(e Extent, size int64) error {
	for off := e.Offset; off < e.End(); {
		g := off >> granuleShift
		from, limit := off&(1<<granuleShift-1), min(size-g<<granuleShift, 1<<granuleShift)
		ok := true
		if to := min(from+e.End()-off, limit); from > 0 || to < limit {
			ok = c.markPart(g, part{int32(from), int32(to)}, int32(limit))
			off += to - from
		} else {
			next := e.End() >> granuleShift
			if e.End() == size {
				next = (size + 1<<granuleShift - 1) >> granuleShift
			}
			ok = c.markWhole(g, next)
			off = min(next<<granuleShift, e.End())
		}
		if !ok {
			return fmt.Errorf("extent of %d bytes at %d overlaps an earlier one", e.Length, e.Offset)
		}
	}
	return nil
}

// markWhole marks granules first to last (exclusive) and tells whether nothing of them
// was covered.
func (c *coverage) markWhole(first, last int64) bool {
	if c.hasParts(first, last) {
		return false
	}
	const perChunk = chunkWords * 64
	for g := first; g < last; {
		next := min(last, (g/perChunk+1)*perChunk)
		if i := g / perChunk; next-g == perChunk && c.chunks[i] == nil {
			c.put(i, &chunk{marked: perChunk})
		} else if !c.chunk(i).mark(g%perChunk, g%perChunk+next-g) {
			return false
		}
		g = next
	}
	return true
}

func (c *coverage) hasParts(first, last int64) bool {
	if last-first > int64(len(c.parts)) {
		for g := range c.parts {
			if g >= first && g < last {
				return true
			}
		}
		return false
	}
	for g := first; g < last; g++ {
		if c.parts[g] != nil {
			return true
		}
	}
	return false
}

// markPart marks a part of a granule of limit bytes and tells whether nothing of it
// was covered.
func (c *coverage) markPart(g int64, p part, limit int32) bool {
	const perChunk = chunkWords * 64
	if k := c.chunks[g/perChunk]; k != nil && k.has(g%perChunk) {
		return false
	}
	parts := c.parts[g]
	i, _ := slices.BinarySearchFunc(parts, p.from, func(q part, from int32) int { return cmp.Compare(q.to, from) })
	j := i // parts i to j (exclusive) touch p
	for j < len(parts) && parts[j].from <= p.to {
		if parts[j].from < p.to && parts[j].to > p.from {
			return false
		}
		p = part{min(p.from, parts[j].from), max(p.to, parts[j].to)}
		j++
	}
	if p.from == 0 && p.to == limit {
		*c.room += len(parts)
		delete(c.parts, g)
		return c.chunk(g/perChunk).mark(g%perChunk, g%perChunk+1)
	}
	if i == j && *c.room == 0 {
		return true
	}
	*c.room += j - i - 1
	if c.parts == nil {
		c.parts = make(map[int64][]part)
	}
	c.parts[g] = slices.Replace(parts, i, j, p)
	return true
}

// forget gives back what the coverage of a complete disk takes.
func (c *coverage) forget() {
	for _, parts := range c.parts {
		*c.room += len(parts)
	}
	c.chunks, c.parts = nil, nil
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

// has tells whether a bit is set.
func (k *chunk) has(i int64) bool { return k.bits == nil || k.bits[i/64]&(1<<uint(i%64)) != 0 }

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
