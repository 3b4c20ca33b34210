package export

import "vmsync/nbdproxy/nbdconn"

// class says what is to be done with a range.
type class uint8

const (
	unchanged class = iota
	data
	zero
)

// Flags of the context base:allocation (NBD protocol, "Metadata querying").
const (
	stateHole = 1 << 0
	stateZero = 1 << 1
)

// run is a number of bytes of one class.
type run struct {
	length int64
	class  class
}

// classify decides on a range by its flags. Flags are bits, and a bit that we do
// not know may say anything about what is read there: such a range is data. A hole
// that is not said to read as zeros is data as well. In a dirty bitmap's
// context any bit counts as dirty.
func classify(alloc uint32, full bool, dirty uint32) class {
	switch {
	case !full && dirty == 0:
		return unchanged
	case alloc&stateZero != 0 && alloc&^(stateHole|stateZero) == 0:
		return zero
	default:
		return data
	}
}

// merge appends to runs what two replies for the same offset say together, up to
// where the shorter one ends, at most limit bytes; and returns how many bytes that
// is. Nil dirty stands for a disk that is sent in full. Neighbours of one class become one run.
func merge(runs []run, alloc, dirty []nbdconn.Status, limit int64) ([]run, int64) {
	full := dirty == nil
	var covered, aLeft, dLeft int64
	var a, d nbdconn.Status
	for covered < limit {
		if aLeft == 0 {
			if len(alloc) == 0 {
				break
			}
			a, alloc = alloc[0], alloc[1:]
			aLeft = int64(a.Length)
		}
		if dLeft == 0 && !full {
			if len(dirty) == 0 {
				break
			}
			d, dirty = dirty[0], dirty[1:]
			dLeft = int64(d.Length)
		}
		n := min(aLeft, limit-covered)
		if !full {
			n = min(n, dLeft)
			dLeft -= n
		}
		aLeft -= n
		covered += n
		c := classify(a.Flags, full, d.Flags)
		if k := len(runs); k > 0 && runs[k-1].class == c {
			runs[k-1].length += n
		} else {
			runs = append(runs, run{n, c})
		}
	}
	return runs, covered
}

// trim takes unchanged ranges off both ends of a dirty bitmap's status: clean bytes in
// front; what is left begins and ends with a changed one and is span bytes long, at
// most limit with clean. Where nothing changed, clean is all that the status covers
// and span is 0.
func trim(dirty []nbdconn.Status, limit int64) (clean, span int64, rest []nbdconn.Status) {
	var end int64 // of the last changed range
	var covered int64
	first := -1
	for i, s := range dirty {
		n := min(int64(s.Length), limit-covered)
		if s.Flags != 0 && n > 0 {
			if first < 0 {
				first, clean = i, covered
			}
			end = covered + n
		}
		covered += n
	}
	if first < 0 {
		return covered, 0, nil
	}
	return clean, end - clean, dirty[first:]
}
