package ntfs

import (
	"encoding/binary"

	"vmsync/fusefs/filesystem"
)

// A reference names a record of $MFT: its number, and how often it had been used.
type reference uint64

const (
	numberMask    = 1<<48 - 1
	sequenceShift = 48
)

func (r reference) number() uint64   { return uint64(r) & numberMask }
func (r reference) sequence() uint16 { return uint16(r >> sequenceShift) }

// A record describes a file, or a part of one. It is never changed once it is read.
type record struct {
	raw    []byte // up to the end of what is in use
	number uint64
}

// Flags of a record.
const (
	recordInUse = 0x01
	recordDir   = 0x02
)

func (r *record) flags() uint16    { return binary.LittleEndian.Uint16(r.raw[22:]) }
func (r *record) sequence() uint16 { return binary.LittleEndian.Uint16(r.raw[16:]) }
func (r *record) base() reference  { return reference(binary.LittleEndian.Uint64(r.raw[32:])) }
func (r *record) reference() reference {
	return reference(r.number | uint64(r.sequence())<<sequenceShift)
}

// parseRecord takes over raw, a record as it is on the device.
func parseRecord(raw []byte, number uint64) (*record, error) {
	if err := fixUp(raw, "FILE"); err != nil {
		return nil, err
	}
	used := binary.LittleEndian.Uint32(raw[24:])
	if used < 48 || int64(used) > int64(len(raw)) {
		return nil, corrupt("%d of %d bytes are in use", used, len(raw))
	}
	return &record{raw[:used], number}, nil
}

// fixUp checks that all sectors of a block were written together, and puts back the two bytes
// at the end of each that the check took.
func fixUp(b []byte, magic string) error {
	if string(b[:4]) != magic {
		return corrupt("%q where %q has to be", b[:4], magic)
	}
	at := int(binary.LittleEndian.Uint16(b[4:]))
	count := int(binary.LittleEndian.Uint16(b[6:]))
	if count != len(b)/sectorSize+1 || at%2 != 0 || at+2*count > sectorSize-2 {
		return corrupt("update sequence of %d at %d", count, at)
	}
	for i := 1; i < count; i++ {
		end := b[i*sectorSize-2:][:2]
		if end[0] != b[at] || end[1] != b[at+1] {
			return corrupt("sector %d was written at another time", i-1)
		}
		copy(end, b[at+2*i:][:2])
	}
	return nil
}

// record returns a record that is in use.
func (v *volume) record(number uint64) (*record, error) {
	if r, found := v.records.Get(number); found {
		return r, nil
	}
	raw := make([]byte, v.layout.recordSize)
	if err := v.mft.read(raw, number); err != nil {
		return nil, err
	}
	r, err := parseRecord(raw, number)
	if err != nil {
		return nil, corruptRecord(number, err)
	}
	if r.flags()&recordInUse == 0 {
		return nil, corrupt("record %d is not in use", number)
	}
	v.records.Put(number, r, len(raw))
	return r, nil
}

// file returns the first record of a file.
func (v *volume) file(id filesystem.ID) (*record, error) {
	ref := reference(id)
	if ref.number() < firstUser && ref.number() != recordRoot {
		return nil, corrupt("record %d is no user's file", ref.number())
	}
	r, err := v.record(ref.number())
	if err != nil {
		return nil, err
	}
	if r.base().number() != 0 || (ref.sequence() != 0 && ref.sequence() != r.sequence()) {
		return nil, corrupt("record %d is another file's", ref.number())
	}
	return r, nil
}
