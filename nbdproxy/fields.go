package nbdproxy

import "encoding/binary"

// fields takes the data of an option apart. Once a field was not there whole, bad is set
// and all fields are empty.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n uint32) []byte {
	if f.bad || uint64(n) > uint64(len(f.rest)) {
		f.bad = true
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// string takes a string with its length in front.
func (f *fields) string() string {
	n := f.uint32()
	if n > maxString {
		f.bad = true
	}
	return string(f.take(n))
}

// end tells whether every field was there, and nothing besides.
func (f *fields) end() bool { return !f.bad && len(f.rest) == 0 }
