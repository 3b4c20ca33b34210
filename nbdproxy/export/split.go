package export

import (
	"bytes"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

// splitter takes out of a frame's data the granules that hold nothing but zeros, and those
// that the receiver has. What comes after size is the result of the last call of
// split; its memory is used again by the next.
type splitter struct {
	size  int64  // bytes of the disk
	known *known // what the receiver has; nil if that is not known

	data []stream.Extent // extents that remain
	kept []byte          // their bytes
	zero []stream.Extent // extents of zeros
	same int64           // bytes that the receiver has

	content blockindex.Digest // of all granules of all calls, with known
}

// split splits the extents, whose bytes are payload, back to back: what is kept is
// moved together at the front of it. A granule that the frame holds only a part of
// is kept, unless the disk ends with that part.
func (s *splitter) split(extents []stream.Extent, payload []byte) error {
	s.data, s.kept, s.zero, s.same = s.data[:0], payload[:0], s.zero[:0], 0
	rest := payload
	for _, e := range extents {
		for e.Length > 0 {
			n := min(e.Length, granule-e.Offset%granule)
			part := stream.Extent{Offset: e.Offset, Length: n}
			b := rest[:n]
			rest = rest[n:]
			c, err := s.classify(part, b)
			if err != nil {
				return err
			}
			switch c {
			case unchanged:
				s.same += n
			case zero:
				s.zero = join(s.zero, part)
			default:
				s.data = join(s.data, part)
				if k := len(s.kept); k+len(b)+len(rest) == len(payload) {
					s.kept = payload[:k+len(b)] // nothing was taken out yet
				} else {
					s.kept = append(s.kept, b...)
				}
			}
			e = stream.Extent{Offset: e.Offset + n, Length: e.Length - n}
		}
	}
	return nil
}

// classify decides on a granule or a part of one.
func (s *splitter) classify(e stream.Extent, b []byte) (class, error) {
	whole := e.Length == granule || e.Offset%granule == 0 && e.End() == s.size
	switch {
	case !whole:
		return data, nil
	case s.known == nil && allZero(b):
		return zero, nil
	case s.known == nil:
		return data, nil
	}
	block, h := e.Offset/granule, blockindex.Sum(b)
	s.content.Add(block, h)
	had, err := s.known.has(block, h)
	switch {
	case had || err != nil:
		return unchanged, err
	case h == blockindex.Zero:
		return zero, nil
	default:
		return data, nil
	}
}

// allZero tells whether b, of at least one byte, holds nothing but zeros. Comparing
// b with itself, shifted by one, runs at the speed of memory.
func allZero(b []byte) bool {
	return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
