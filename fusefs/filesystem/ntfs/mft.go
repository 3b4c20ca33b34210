package ntfs

import (
	"cmp"
	"sort"
)

// mft is where the records of $MFT are.
type mft struct {
	volume *volume
	runs   []run
	size   int64
}

// maxMFTRuns bounds how many pieces $MFT may be in: those of a fragmented disk are hundreds.
const maxMFTRuns = 65536

// openMFT finds all of $MFT from its first record, which the boot sector points to. The records
// that describe its later parts lie in its earlier ones.
func openMFT(v *volume) (*mft, error) {
	raw := make([]byte, v.layout.recordSize)
	if err := readFull(v.dev, raw, v.layout.mft); err != nil {
		return nil, err
	}
	first, err := parseRecord(raw, recordMFT)
	if err != nil {
		return nil, err
	}
	m := &mft{volume: v}
	v.mft = m
	var damage error
	err = first.attributes(func(a *attribute) bool {
		if a.kind != typeData || len(a.name) > 0 || a.resident || a.lowVCN != 0 {
			return true
		}
		m.size = a.size
		m.runs, damage = decodeRuns(a, v.layout.clusters)
		return false
	})
	if err := cmp.Or(err, damage); err != nil {
		return nil, err
	}
	if m.runs == nil {
		return nil, corrupt("it has no data")
	}
	list, _, err := v.attributeList(first)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.kind != typeData || len(e.name) > 0 || e.lowVCN == 0 {
			continue
		}
		runs, err := v.decode(e.segment(), first.reference())
		if err != nil {
			return nil, err
		}
		last := m.runs[len(m.runs)-1]
		if e.lowVCN != last.vcn+last.length || len(m.runs)+len(runs) > maxMFTRuns {
			return nil, corrupt("its part at cluster %d", e.lowVCN)
		}
		m.runs = append(m.runs, runs...)
	}
	return m, nil
}

// read fills raw with a record as it is on the device.
func (m *mft) read(raw []byte, number uint64) error {
	if number >= uint64(m.size/m.volume.layout.recordSize) {
		return corrupt("record %d of %d", number, m.size/m.volume.layout.recordSize)
	}
	cluster := m.volume.layout.clusterSize
	for off := int64(number) * m.volume.layout.recordSize; len(raw) > 0; {
		vcn := off / cluster
		i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].vcn > vcn }) - 1
		r := m.runs[i]
		left := (r.vcn+r.length)*cluster - off
		if left <= 0 || r.lcn == hole {
			return corrupt("record %d is in a hole of $MFT", number)
		}
		n := min(int64(len(raw)), left)
		if err := readFull(m.volume.dev, raw[:n], (r.lcn-r.vcn)*cluster+off); err != nil {
			return corruptRecord(number, err)
		}
		raw, off = raw[n:], off+n
	}
	return nil
}
