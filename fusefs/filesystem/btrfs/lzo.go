package btrfs

import (
	"errors"
	"io"
)

var (
	errLZODistance = errors.New("LZO: a match before the begin")
	errLZOOverrun  = errors.New("LZO: more bytes than there is room for")
)

// unpackLZO unpacks what btrfs writes around LZO: the length of all, then segments, each with its
// length, which unpack to a sector each. A length does not cross the boundary between two sectors.
func unpackLZO(plain, packed []byte, sector int) (int, error) {
	if len(packed) < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	total := le.Uint32(packed)
	if total < 4 || uint64(total) > uint64(len(packed)) {
		return 0, io.ErrUnexpectedEOF
	}
	packed = packed[:total]
	n := 0
	for at := 4; at < len(packed) && n < len(plain); {
		if left := sector - at%sector; left < 4 {
			at += left
		}
		if len(packed)-at < 4 {
			return n, io.ErrUnexpectedEOF
		}
		size := int64(le.Uint32(packed[at:]))
		at += 4
		if size > int64(len(packed)-at) {
			return n, io.ErrUnexpectedEOF
		}
		end := min(n+sector, len(plain))
		got, err := lzo1x(plain[n:end], packed[at:at+int(size)])
		n += got
		if err != nil {
			return n, err
		}
		at += int(size)
	}
	return n, nil
}

// lzo1x decompresses an LZO1X stream into dst and returns how much that is. The stream
// is described in the Linux documentation, "LZO stream format as understood by Linux's
// LZO decompressor": instructions of literals to copy from the stream, and of matches to
// copy from what was written before. What a low byte means depends on how many literals were
// copied by the instruction before.
func lzo1x(dst, src []byte) (int, error) {
	s := lzoState{dst: dst, src: src}
	if len(src) > 0 && src[0] > 17 {
		// The first byte can hold a run of literals.
		n := int(src[0]) - 17
		s.in = 1
		if err := s.literals(n); err != nil {
			return s.out, err
		}
		s.before = min(n, 4)
	}
	for {
		if s.in >= len(src) {
			return s.out, io.ErrUnexpectedEOF
		}
		done, err := s.instruction()
		if done || err != nil {
			return s.out, err
		}
	}
}

type lzoState struct {
	dst, src []byte
	out, in  int
	// before is how many literals the instruction before copied: 0 to 3 behind a
	// match, 4 for a run of them.
	before int
}

// instruction carries out one instruction; there is at least one byte left. It says
// whether it was the end of the stream.
func (s *lzoState) instruction() (done bool, err error) {
	b := int(s.src[s.in])
	s.in++
	var length, distance, literals int
	switch {
	case b >= 64:
		length = b>>5 + 1
		next, err := s.byte()
		if err != nil {
			return false, err
		}
		distance, literals = next<<3+b>>2&7+1, b&3
	case b >= 32:
		if length, err = s.length(b&31, 31); err != nil {
			return false, err
		}
		low, err := s.pair()
		if err != nil {
			return false, err
		}
		length, distance, literals = length+2, low>>2+1, low&3
	case b >= 16:
		if length, err = s.length(b&7, 7); err != nil {
			return false, err
		}
		low, err := s.pair()
		if err != nil {
			return false, err
		}
		length, distance, literals = length+2, 16384+b>>3&1<<14+low>>2, low&3
		if distance == 16384 {
			return true, nil
		}
	case s.before == 0:
		if length, err = s.length(b, 15); err != nil {
			return false, err
		}
		s.before = 4
		return false, s.literals(length + 3)
	default:
		next, err := s.byte()
		if err != nil {
			return false, err
		}
		length, distance, literals = 2, next<<2+b>>2+1, b&3
		if s.before == 4 {
			length, distance = 3, distance+2048
		}
	}
	if err := s.match(length, distance); err != nil {
		return false, err
	}
	s.before = literals
	return false, s.literals(literals)
}

func (s *lzoState) byte() (int, error) {
	if s.in >= len(s.src) {
		return 0, io.ErrUnexpectedEOF
	}
	s.in++
	return int(s.src[s.in-1]), nil
}

func (s *lzoState) pair() (int, error) {
	if len(s.src)-s.in < 2 {
		return 0, io.ErrUnexpectedEOF
	}
	s.in += 2
	return int(le.Uint16(s.src[s.in-2:])), nil
}

// length returns an instruction's length, which goes on in further bytes where the bits
// in it are zero: 255 for each byte of zero, then the last one.
func (s *lzoState) length(bits, base int) (int, error) {
	if bits != 0 {
		return bits, nil
	}
	n := base
	for {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return n + b, nil
		}
		n += 255
	}
}

func (s *lzoState) literals(n int) error {
	if n > len(s.src)-s.in {
		return io.ErrUnexpectedEOF
	}
	if n > len(s.dst)-s.out {
		return errLZOOverrun
	}
	copy(s.dst[s.out:], s.src[s.in:s.in+n])
	s.in, s.out = s.in+n, s.out+n
	return nil
}

// match copies bytes from further up; those that it writes itself may be among them.
func (s *lzoState) match(n, distance int) error {
	if distance > s.out {
		return errLZODistance
	}
	if n > len(s.dst)-s.out {
		return errLZOOverrun
	}
	from := s.out - distance
	for n > 0 {
		copied := copy(s.dst[s.out:s.out+n], s.dst[from:s.out])
		s.out, n = s.out+copied, n-copied
	}
	return nil
}
