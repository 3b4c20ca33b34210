package mapping

import (
	"fmt"

	"vmsync/fusefs/device"
)

// The bounds keep sums of offsets within 64 bits.
const (
	maxParts = 1 << 10
	maxChunk = 1 << 40
)

// Stripes deals size bytes in chunks, in turn, to the parts: the first chunk is in the
// first part, the second in the second.
func Stripes(parts []device.Device, chunk, size int64) (device.Device, error) {
	n := int64(len(parts))
	if n == 0 || n > maxParts || chunk <= 0 || chunk > maxChunk || size < 0 {
		return nil, fmt.Errorf("%d stripes in chunks of %d bytes: %w", n, chunk, device.ErrOutOfRange)
	}
	if n == 1 {
		return device.Section(parts[0], 0, size)
	}
	s := &stripes{parts, chunk, size}
	for i, part := range parts {
		if need := s.length(int64(i)); part.Size() < need {
			return nil, fmt.Errorf("stripe %d has %d of %d bytes: %w", i, part.Size(), need, device.ErrOutOfRange)
		}
	}
	return s, nil
}

type stripes struct {
	parts       []device.Device
	chunk, size int64
}

// length is how many bytes of a part are in use.
func (s *stripes) length(part int64) int64 {
	n := int64(len(s.parts))
	row := s.chunk * n
	rest := s.size % row
	return s.size/row*s.chunk + min(max(rest-part*s.chunk, 0), s.chunk)
}

// place returns the part that holds off, and where in it.
func (s *stripes) place(off int64) (part, at int64) {
	n, number := int64(len(s.parts)), off/s.chunk
	return number % n, number/n*s.chunk + off%s.chunk
}

// logical is the opposite of place.
func (s *stripes) logical(part, at int64) int64 {
	return (at/s.chunk*int64(len(s.parts))+part)*s.chunk + at%s.chunk
}

func (s *stripes) Size() int64 { return s.size }

func (s *stripes) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, s.size, func(p []byte, off int64) (int, error) {
		done := 0
		for done < len(p) {
			part, at := s.place(off + int64(done))
			piece := p[done:min(int64(len(p)), int64(done)+s.chunk-at%s.chunk)]
			n, err := s.parts[part].ReadAt(piece, at)
			done += n
			if n < len(piece) {
				return done, err
			}
		}
		return done, nil
	})
}

// maxTogether bounds how many chunks a range of Data may reach over.
const maxTogether = 1 << 16

// Data asks each part for its next data, and takes what comes first, with the chunks that
// follow it as far as the answers tell of them.
func (s *stripes) Data(off int64) (int64, int64, error) {
	if off >= s.size {
		return s.size, s.size, nil
	}
	type span struct{ start, end int64 }
	data := make([]span, len(s.parts)) // in each part
	start := s.size
	own, at := s.place(off)
	for i := range s.parts {
		part, from := int64(i), at/s.chunk*s.chunk
		switch {
		case part == own:
			from = at
		case part < own:
			from += s.chunk // its chunk in this row is before off
		}
		if from >= s.length(part) {
			continue
		}
		first, end, err := s.parts[i].Data(from)
		if err != nil {
			return 0, 0, err
		}
		if end = min(end, s.length(part)); first >= end {
			continue
		}
		data[i] = span{first, end}
		start = min(start, s.logical(part, first))
	}
	end := start
	for range maxTogether {
		if end >= s.size {
			break
		}
		part, at := s.place(end)
		if at < data[part].start || at >= data[part].end {
			break
		}
		end += min((at/s.chunk+1)*s.chunk, data[part].end) - at
	}
	return start, end, nil
}
