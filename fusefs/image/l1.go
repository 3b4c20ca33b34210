package image

import (
	"encoding/binary"
	"io"
)

// l1Page is how many entries of an L1 table are kept or left out together.
const l1Page = 512

// l1Table is an L1 table as it was when its image was opened. It is kept whole, as a
// merge into this file may move the table, and its old place be used for something else.
// Pages of zeros are nil: most of an overlay's are.
type l1Table []*[l1Page]uint64

// readL1 reads a table of so many entries.
func readL1(r io.ReaderAt, offset, entries int64) (l1Table, error) {
	table := make(l1Table, (entries+l1Page-1)/l1Page)
	raw := make([]byte, min(entries, l1Page)*8)
	for n := range table {
		first := int64(n) * l1Page
		raw := raw[:min(l1Page, entries-first)*8]
		if _, err := r.ReadAt(raw, offset+first*8); err != nil {
			return nil, cutOff("L1 table", err)
		}
		for k := range len(raw) / 8 {
			entry := binary.BigEndian.Uint64(raw[k*8:]) & offsetMask
			if entry == 0 {
				continue
			}
			if table[n] == nil {
				table[n] = new([l1Page]uint64)
			}
			table[n][k] = entry
		}
	}
	return table, nil
}

// bytes is what the table takes in memory.
func (t l1Table) bytes() int64 {
	total := int64(len(t)) * 8
	for _, page := range t {
		if page != nil {
			total += l1Page * 8
		}
	}
	return total
}

// at returns the offset of an L2 table, 0 where there is none.
func (t l1Table) at(index int64) uint64 {
	if index >= int64(len(t))*l1Page || t[index/l1Page] == nil {
		return 0
	}
	return t[index/l1Page][index%l1Page]
}

// next returns the first index from there on that has an L2 table, -1 where none has.
func (t l1Table) next(index int64) int64 {
	for ; index < int64(len(t))*l1Page; index++ {
		if t[index/l1Page] == nil {
			index |= l1Page - 1
			continue
		}
		if t[index/l1Page][index%l1Page] != 0 {
			return index
		}
	}
	return -1
}
