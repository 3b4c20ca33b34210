package export

import (
	"bytes"

	"vmsync/nbdproxy/stream"
)

// splitter takes the granules that hold nothing but zeros out of a frame's data. Its
// fields are the result of the last call of zeros; their memory is used again by the
// next.
type splitter struct {
	data []stream.Extent // extents that remain
	kept []byte          // their bytes
	zero []stream.Extent // extents of zeros
}

// zeros splits the extents, whose bytes are payload, back to back: what is kept is
// moved together at the front of it. A granule that the frame holds only a part of
// counts only at the end of the disk, which is size bytes long.
func (s *splitter) zeros(extents []stream.Extent, payload []byte, size int64) {
	s.data, s.kept, s.zero = s.data[:0], payload[:0], s.zero[:0]
	for _, e := range extents {
		for e.Length > 0 {
			n := min(e.Length, granule-e.Offset%granule)
			part := stream.Extent{Offset: e.Offset, Length: n}
			b := payload[:n]
			payload = payload[n:]
			whole := n == granule || e.Offset%granule == 0 && part.End() == size
			if whole && allZero(b) {
				s.zero = join(s.zero, part)
			} else {
				s.data = join(s.data, part)
				if len(s.zero) > 0 {
					copy(s.kept[len(s.kept):len(s.kept)+len(b)], b)
				}
				s.kept = s.kept[:len(s.kept)+len(b)]
			}
			e = stream.Extent{Offset: e.Offset + n, Length: e.Length - n}
		}
	}
}

// allZero tells whether b, of at least one byte, holds nothing but zeros. Comparing
// b with itself, shifted by one, runs at the speed of memory.
func allZero(b []byte) bool {
	return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
