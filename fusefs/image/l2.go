package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bits of an L2 entry (Cluster mapping).
const (
	entryCompressed = 1 << 62
	entryZero       = 1
)

// lookUp finds in a file what it has of the gaps, and leaves the rest as gaps.
func (r *resolver) lookUp(f *file, layer uint16) error {
	r.rest = r.rest[:0]
	last := r.gaps[len(r.gaps)-1].end
	for next, off := 0, r.gaps[0].start; off < last; {
		index := off >> f.tableBits
		end := min((index+1)<<f.tableBits, last)
		err := r.lookUpTable(f, layer, f.l1.at(index), within(r.gaps[next:], end))
		if err != nil {
			return err
		}
		for next < len(r.gaps) && r.gaps[next].end <= end {
			next++
		}
		if next == len(r.gaps) {
			break
		}
		off = max(end, r.gaps[next].start)
		r.gaps[next].start = off
	}
	r.gaps, r.rest = r.rest, r.gaps
	return nil
}

// within returns the gaps that begin before end, cut off there. The first one does.
func within(gaps []span, end int64) clipped {
	n := 0
	for n < len(gaps) && gaps[n].start < end {
		n++
	}
	return clipped{gaps[:n], min(end, gaps[n-1].end)}
}

// clipped is a list of gaps of which the last is cut off at end.
type clipped struct {
	gaps []span
	end  int64
}

func (c clipped) at(n int) span {
	gap := c.gaps[n]
	gap.end = min(gap.end, c.end)
	return gap
}

// lookUpTable looks gaps up that one L2 table maps.
func (r *resolver) lookUpTable(f *file, layer uint16, table uint64, c clipped) error {
	if table == 0 {
		for n := range c.gaps {
			r.leave(c.at(n))
		}
		return nil
	}
	clusterSize := f.clusterSize()
	if table&uint64(clusterSize-1) != 0 || !f.reaches(int64(table)+clusterSize-1) {
		for n := range c.gaps {
			r.emit(piece{c.at(n), table, layer, badTable})
		}
		return nil
	}
	// The entries from the first gap's to the last one's.
	bits := f.entryBits()
	first := c.gaps[0].start >> f.clusterBits
	count := (c.end-1)>>f.clusterBits - first + 1
	inTable := first & (1<<(f.tableBits-f.clusterBits) - 1)
	r.table = grow(r.table, count<<bits)
	if _, err := f.file.ReadAt(r.table, int64(table)+inTable<<bits); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("L2 table: %w", err)
	}
	for n := range c.gaps {
		gap := c.at(n)
		for gap.start < gap.end {
			cluster := gap.start >> f.clusterBits
			upTo := span{gap.start, min((cluster+1)<<f.clusterBits, gap.end)}
			at := (cluster - first) << bits
			entry := binary.BigEndian.Uint64(r.table[at:])
			if f.extended {
				r.extendedEntry(f, layer, entry, binary.BigEndian.Uint64(r.table[at+8:]), upTo)
			} else {
				r.entry(f, layer, entry, upTo)
			}
			gap.start = upTo.end
		}
	}
	return nil
}

// grow returns a buffer of size bytes, in the same memory if it is large enough.
func grow(buf []byte, size int64) []byte {
	if int64(cap(buf)) < size {
		return make([]byte, size)
	}
	return buf[:size]
}

// entry interprets an L2 entry for a range within its cluster.
func (r *resolver) entry(f *file, layer uint16, entry uint64, s span) {
	at := entry & offsetMask
	switch {
	case entry&entryCompressed != 0:
		r.emit(piece{s, entry, layer, compressed})
	case entry&entryZero != 0 && !f.zeroFlag, !f.holds(at):
		r.emit(piece{s, entry, layer, badCluster})
	case entry&entryZero != 0:
		r.emit(piece{span: s, kind: hole})
	case at == 0:
		r.leave(s)
	default:
		r.emit(piece{s, at + uint64(s.start&(f.clusterSize()-1)), layer, plain})
	}
}

// extendedEntry interprets an extended L2 entry (Extended L2 Entries).
func (r *resolver) extendedEntry(f *file, layer uint16, entry, bitmap uint64, s span) {
	at := entry & offsetMask
	allocated, zero := uint32(bitmap), uint32(bitmap>>32)
	switch {
	case entry&entryCompressed != 0:
		r.emit(piece{s, entry, layer, compressed})
		return
	case allocated&zero != 0, allocated != 0 && at == 0, !f.holds(at):
		r.emit(piece{s, entry, layer, badCluster})
		return
	}
	bits := f.clusterBits - subclusterBits
	for s.start < s.end {
		n := s.start >> bits & (1<<subclusterBits - 1)
		sub := span{s.start, min((s.start>>bits+1)<<bits, s.end)}
		switch {
		case allocated>>n&1 != 0:
			r.emit(piece{sub, at + uint64(sub.start&(f.clusterSize()-1)), layer, plain})
		case zero>>n&1 != 0:
			r.emit(piece{span: sub, kind: hole})
		default:
			r.leave(sub)
		}
		s.start = sub.end
	}
}

// holds says whether a cluster may lie there: it begins on a boundary and within the
// file. The last one's end may be missing, and reads as zeros.
func (f *file) holds(at uint64) bool {
	return at&uint64(f.clusterSize()-1) == 0 && f.reaches(int64(at))
}
