package export

import (
	"bytes"

	"vmsync/nbdproxy/stream"
)

// splitZeros takes the granules that hold nothing but zeros out of a frame's
// data. It returns the extents that remain, their bytes moved together at the
// front of payload, and the extents of zeros. A granule that the frame holds only a
// part of counts only at the end of the disk, which is size bytes long.
func splitZeros(extents []stream.Extent, payload []byte, size int64) (data []stream.Extent, kept []byte, zeros []stream.Extent) {
	kept = payload[:0]
	for _, e := range extents {
		for e.Length > 0 {
			n := min(e.Length, granule-e.Offset%granule)
			part := stream.Extent{Offset: e.Offset, Length: n}
			b := payload[:n]
			payload = payload[n:]
			whole := n == granule || e.Offset%granule == 0 && part.End() == size
			if whole && allZero(b) {
				zeros = join(zeros, part)
			} else {
				data = join(data, part)
				if len(zeros) > 0 {
					copy(kept[len(kept):len(kept)+len(b)], b)
				}
				kept = kept[:len(kept)+len(b)]
			}
			e = stream.Extent{Offset: e.Offset + n, Length: e.Length - n}
		}
	}
	return data, kept, zeros
}

// allZero tells whether b, of at least one byte, holds nothing but zeros. Comparing
// b with itself, shifted by one, runs at the speed of memory.
func allZero(b []byte) bool {
	return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
