package image

import (
	"cmp"
	"slices"
)

// partGranules is how many of the smallest units in which any file of a chain maps its disk
// make a part: 32 MiB with clusters of 64 KiB.
const partGranules = 512

// runBytes is what a run takes in memory.
const runBytes = 16

// kind says what a range of the disk is made of.
type kind uint8

const (
	hole       kind = iota // reads as zeros
	plain                  // bytes of a file
	compressed             // part of a compressed cluster
	badTable               // behind an L1 entry that leads nowhere
	badCluster             // an L2 entry contradicts the format
)

// run is a range of a part that is in one piece. It ends where the next one begins.
type run struct {
	// at is the place in the file of plain data, and the entry as it is of the other kinds.
	at    uint64
	start uint32 // from the part's beginning
	layer uint16 // index in the chain
	kind  kind
}

// partSize returns how much of a chain's disk is mapped at a time. Clusters do not cross
// the boundaries of parts, unless the chain mixes very different sizes of them.
func partSize(chain []*file) int64 {
	smallest := int64(1) << maxClusterBits
	for _, f := range chain {
		if f.raw == nil {
			smallest = min(smallest, f.granule())
		}
	}
	return smallest * partGranules
}

// mapping returns the runs of the part that begins at base.
func (i *Image) mapping(base int64) ([]run, error) {
	key := blockKey{i.id, uint64(base)}
	if b, found := i.cache.blocks.Lookup(key); found {
		return b.mapping, nil
	}
	b, err := i.cache.blocks.Load(key, func() (block, int64, error) {
		runs, err := i.resolve(base)
		return block{mapping: runs}, int64(cap(runs)) * runBytes, err
	})
	return b.mapping, err
}

// find returns the index of the run that a position in the part lies in.
func find(runs []run, at uint32) int {
	k, found := slices.BinarySearchFunc(runs, at, func(r run, at uint32) int { return cmp.Compare(r.start, at) })
	if found {
		return k
	}
	return k - 1
}

// end returns where run k ends, from the part's beginning.
func (i *Image) end(runs []run, k int) int64 {
	if k+1 < len(runs) {
		return int64(runs[k+1].start)
	}
	return i.part
}

// span is a range of the disk.
type span struct{ start, end int64 }

// piece is a run under way.
type piece struct {
	span
	at    uint64
	layer uint16
	kind  kind
}

// resolver is the memory that resolving a part takes, used again for others.
type resolver struct {
	pieces []piece
	gaps   []span // in order, what no file above has
	rest   []span // of these, what the file that is looked at does not have either
	table  []byte
}

// resolve looks up a part in one file after the other, from the image down, until all of
// it is found.
func (i *Image) resolve(base int64) ([]run, error) {
	r, _ := i.cache.resolvers.Get().(*resolver)
	if r == nil {
		r = &resolver{}
	}
	defer i.cache.resolvers.Put(r)
	r.pieces = r.pieces[:0]
	r.gaps = append(r.gaps[:0], span{base, min(base+i.part, i.size)})
	for layer, f := range i.chain {
		r.cut(f.diskSize())
		if len(r.gaps) == 0 {
			break
		}
		if f.raw != nil {
			for _, gap := range r.gaps {
				r.emit(piece{gap, uint64(gap.start), uint16(layer), plain})
			}
			r.gaps = r.gaps[:0]
			break
		}
		if err := r.lookUp(f, uint16(layer)); err != nil {
			return nil, err
		}
	}
	for _, gap := range r.gaps {
		r.emit(piece{span: gap, kind: hole})
	}
	return r.runs(base), nil
}

// cut makes holes of gaps beyond a file's disk: whatever lies below does not show there.
func (r *resolver) cut(size int64) {
	for n := range r.gaps {
		gap := &r.gaps[n]
		if gap.end <= size {
			continue
		}
		for _, beyond := range r.gaps[n:] {
			r.emit(piece{span: span{max(beyond.start, size), beyond.end}, kind: hole})
		}
		if gap.start < size {
			gap.end = size
			n++
		}
		r.gaps = r.gaps[:n]
		return
	}
}

// emit adds a piece, to the last one where it goes on there.
func (r *resolver) emit(p piece) {
	if len(r.pieces) > 0 && r.pieces[len(r.pieces)-1].joins(p) {
		r.pieces[len(r.pieces)-1].end = p.end
		return
	}
	r.pieces = append(r.pieces, p)
}

func (p *piece) joins(next piece) bool {
	if p.end != next.start || p.kind != next.kind {
		return false
	}
	switch p.kind {
	case hole:
		return true
	case plain:
		return p.layer == next.layer && p.at+uint64(p.end-p.start) == next.at
	default:
		return p.layer == next.layer && p.at == next.at
	}
}

// leave adds a gap for the files below.
func (r *resolver) leave(gap span) {
	if n := len(r.rest); n > 0 && r.rest[n-1].end == gap.start {
		r.rest[n-1].end = gap.end
		return
	}
	r.rest = append(r.rest, gap)
}

// runs returns the pieces found, in order.
func (r *resolver) runs(base int64) []run {
	slices.SortFunc(r.pieces, func(a, b piece) int { return cmp.Compare(a.start, b.start) })
	joined := r.pieces[:1]
	for _, p := range r.pieces[1:] {
		if last := &joined[len(joined)-1]; last.joins(p) {
			last.end = p.end
			continue
		}
		joined = append(joined, p)
	}
	runs := make([]run, len(joined))
	for n, p := range joined {
		runs[n] = run{at: p.at, start: uint32(p.start - base), layer: p.layer, kind: p.kind}
	}
	return runs
}
