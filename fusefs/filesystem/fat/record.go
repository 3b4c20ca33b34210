package fat

import (
	"encoding/binary"
	"fmt"
	"time"

	"vmsync/fusefs/filesystem"
)

const (
	recordSize = 32
	rootID     = filesystem.ID(1)

	// loopID marks the ID of a directory that names itself, its parent, or the root as
	// what is in it: there is no end to such a tree, so nothing of it is shown.
	loopID = filesystem.ID(1) << 63
)

// Attributes of a directory entry, section 6.
const (
	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrDir      = 0x10
	attrLong     = 0x0f // of a part of a long name
	attrLongMask = 0x3f
)

// A record is a directory entry as it is on the device.
type record [recordSize]byte

func (r *record) isFree() bool { return r[0] == 0xe5 }
func (r *record) isLast() bool { return r[0] == 0 }
func (r *record) isLong() bool { return r[11]&attrLongMask == attrLong }
func (r *record) isVolume() bool {
	return r[11]&attrVolume != 0
}
func (r *record) isDir() bool { return r[11]&attrDir != 0 }
func (r *record) isDot() bool {
	name := string(r[:11])
	return name == ".          " || name == "..         "
}

func (r *record) size() uint32 { return binary.LittleEndian.Uint32(r[28:]) }

func (r *record) cluster(bits int) uint32 {
	low := uint32(binary.LittleEndian.Uint16(r[26:]))
	if bits != 32 {
		return low
	}
	return uint32(binary.LittleEndian.Uint16(r[20:]))<<16 | low
}

func (r *record) written() time.Time {
	return stamp(binary.LittleEndian.Uint16(r[24:]), binary.LittleEndian.Uint16(r[22:]), 0)
}

func (r *record) accessed() time.Time {
	return stamp(binary.LittleEndian.Uint16(r[18:]), 0, 0)
}

// created is the zero time where it was not recorded.
func (r *record) created() time.Time {
	date := binary.LittleEndian.Uint16(r[16:])
	if date == 0 {
		return time.Time{}
	}
	return stamp(date, binary.LittleEndian.Uint16(r[14:]), r[13])
}

// stamp is a date, a time of 2 seconds, and units of 10 ms, section 6.
func stamp(date, clock uint16, hundredths byte) time.Time {
	return time.Date(1980+int(date>>9), time.Month(max(1, date>>5&0x0f)), int(max(1, date&0x1f)),
		int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, int(hundredths)*10_000_000, time.UTC)
}

// record reads the directory entry of a file other than the root.
func (v *volume) record(id filesystem.ID) (record, error) {
	if r, found := v.records.Get(id); found {
		return r, nil
	}
	if id&loopID != 0 {
		return record{}, fmt.Errorf("directory %d contains itself: %w", id&^loopID, filesystem.ErrCorrupt)
	}
	var r record
	at := id * recordSize
	if id >= 1<<58 || int64(at) < v.layout.root {
		return record{}, fmt.Errorf("file %d: %w", id, filesystem.ErrCorrupt)
	}
	if err := readFull(v.dev, r[:], int64(at)); err != nil {
		return record{}, fmt.Errorf("file %d: %w", id, err)
	}
	if r.isFree() || r.isLast() || r.isLong() || r.isVolume() {
		return record{}, fmt.Errorf("file %d is no file: %w", id, filesystem.ErrCorrupt)
	}
	v.records.Put(id, r, 1)
	return r, nil
}
