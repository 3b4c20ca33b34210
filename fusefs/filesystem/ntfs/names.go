package ntfs

import (
	"encoding/binary"

	"vmsync/fusefs/filesystem/internal/utf16le"
)

const (
	maxUnits  = 255
	maxUpcase = 65536
)

// readUpcase reads the table by which names are put in order: for each unit of UTF-16 its
// upper case.
func (v *volume) readUpcase() ([]uint16, error) {
	raw, err := v.metafile(recordUpCase, 2*maxUpcase)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, corrupt("it is empty")
	}
	table := make([]uint16, len(raw)/2)
	for i := range table {
		table[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return table, nil
}

// metafile reads one of the filesystem's own files of at most most bytes.
func (v *volume) metafile(number uint64, most int64) ([]byte, error) {
	s, err := v.metastream(number)
	if err != nil {
		return nil, err
	}
	if s.Size() > most {
		return nil, corruptRecord(number, corrupt("%d bytes", s.Size()))
	}
	raw := make([]byte, s.Size())
	_, err = s.read(raw, 0)
	return raw, err
}

func (v *volume) metastream(number uint64) (*stream, error) {
	r, err := v.record(number)
	if err != nil {
		return nil, err
	}
	s, err := v.stream(r, typeData, nil)
	if err == nil && s == nil {
		err = corruptRecord(number, corrupt("it has no data"))
	}
	if err == nil {
		err = s.readable()
	}
	return s, err
}

// fileName is a name in a directory as Linux shows it. What it cannot show there, because
// it means something else, is shown as a character that no name has.
func fileName(raw []byte) string {
	name := utf16le.Decode(raw)
	if name == "." || name == ".." {
		return "\ufffd" + name
	}
	return name
}

func (v *volume) fold(unit uint16) uint16 {
	if int(unit) < len(v.upcase) {
		return v.upcase[unit]
	}
	return unit
}

// compareFolded puts names in order by the upper case of their units.
func (v *volume) compareFolded(a []uint16, b []byte) int {
	for i, unit := range a {
		if 2*i >= len(b) {
			return 1
		}
		other := binary.LittleEndian.Uint16(b[2*i:])
		if unit == other {
			continue
		}
		if x, y := v.fold(unit), v.fold(other); x != y {
			return int(x) - int(y)
		}
	}
	return 2*len(a) - len(b)
}

// compare is the order in which a directory has its names: those that differ in case
// alone are in the order of their units.
func (v *volume) compare(a []uint16, b []byte) int {
	if order := v.compareFolded(a, b); order != 0 {
		return order
	}
	for i, unit := range a {
		if other := binary.LittleEndian.Uint16(b[2*i:]); unit != other {
			return int(unit) - int(other)
		}
	}
	return 0
}
