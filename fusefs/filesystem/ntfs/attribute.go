package ntfs

import (
	"encoding/binary"
	"fmt"
)

// Types of attributes.
const (
	typeStandard   = 0x10
	typeList       = 0x20
	typeFileName   = 0x30
	typeVolumeName = 0x60
	typeVolume     = 0x70
	typeData       = 0x80
	typeIndexRoot  = 0x90
	typeIndexBlock = 0xa0
	typeBitmap     = 0xb0
	typeReparse    = 0xc0
	typeEnd        = 0xffffffff
)

// Flags of an attribute.
const (
	flagCompressed = 0x00ff
	flagEncrypted  = 0x4000
	flagSparse     = 0x8000
)

// An attribute is one of a record's. Its slices are the record's.
type attribute struct {
	kind     uint32
	name     []byte // little-endian UTF-16
	flags    uint16
	instance uint16

	resident bool
	value    []byte // where it is resident

	lowVCN    int64
	highVCN   int64
	runs      []byte
	unitShift uint8 // log2 of the clusters compressed together
	allocated int64 // bytes on the disk, those three only where lowVCN is 0
	size      int64
	valid     int64 // what lies behind reads as zeros
}

// attributes calls yield for the attributes of a record until it returns false.
func (r *record) attributes(yield func(*attribute) bool) error {
	b := r.raw
	at := int(binary.LittleEndian.Uint16(b[20:]))
	for {
		if at < 0 || at+4 > len(b) {
			return corruptRecord(r.number, corrupt("attributes without an end"))
		}
		if binary.LittleEndian.Uint32(b[at:]) == typeEnd {
			return nil
		}
		if at+16 > len(b) {
			return corruptRecord(r.number, corrupt("attributes without an end"))
		}
		length := binary.LittleEndian.Uint32(b[at+4:])
		if length < 24 || int64(length) > int64(len(b)-at) {
			return corruptRecord(r.number, corrupt("attribute of %d bytes at %d", length, at))
		}
		a, err := parseAttribute(b[at : at+int(length)])
		if err != nil {
			return corruptRecord(r.number, fmt.Errorf("attribute at %d: %w", at, err))
		}
		if !yield(&a) {
			return nil
		}
		at += int(length)
	}
}

func parseAttribute(b []byte) (attribute, error) {
	le := binary.LittleEndian
	a := attribute{kind: le.Uint32(b), flags: le.Uint16(b[12:]), instance: le.Uint16(b[14:]), resident: b[8] == 0}
	var err error
	if a.name, err = part(b, int64(le.Uint16(b[10:])), int64(b[9])*2); err != nil {
		return a, err
	}
	if a.resident {
		a.value, err = part(b, int64(le.Uint16(b[20:])), int64(le.Uint32(b[16:])))
		a.size, a.valid = int64(len(a.value)), int64(len(a.value))
		return a, err
	}
	if len(b) < 64 {
		return a, corrupt("%d bytes", len(b))
	}
	a.lowVCN, a.highVCN = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	runs := int64(le.Uint16(b[32:]))
	if a.runs, err = part(b, runs, int64(len(b))-runs); err != nil {
		return a, err
	}
	a.unitShift = b[34]
	if a.lowVCN < 0 || a.highVCN < a.lowVCN-1 || a.highVCN > maxVCN {
		return a, corrupt("clusters %d to %d", a.lowVCN, a.highVCN)
	}
	if a.lowVCN > 0 {
		return a, nil
	}
	a.allocated, a.size, a.valid = int64(le.Uint64(b[40:])), int64(le.Uint64(b[48:])), int64(le.Uint64(b[56:]))
	if a.allocated < 0 || a.size < 0 || a.valid < 0 {
		return a, corrupt("negative sizes")
	}
	a.valid = min(a.valid, a.size)
	if (a.unitShift != 0 || a.flags&(flagCompressed|flagSparse) != 0) && len(b) >= 72 {
		a.allocated = int64(le.Uint64(b[64:]))
	}
	return a, nil
}

// part returns length bytes of b from at on.
func part(b []byte, at, length int64) ([]byte, error) {
	if length == 0 {
		return nil, nil
	}
	if at < 0 || length < 0 || at > int64(len(b)) || length > int64(len(b))-at {
		return nil, corrupt("bytes %d to %d of %d", at, at+length, len(b))
	}
	return b[at : at+length], nil
}

func corruptRecord(number uint64, err error) error {
	return fmt.Errorf("record %d: %w", number, err)
}
