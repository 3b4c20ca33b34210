package fat

import (
	"encoding/binary"
	"fmt"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/cache"
)

// nameMax is the longest name in bytes: 255 units of UTF-16, 3 bytes of UTF-8 each.
const nameMax = maxUnits * 3

func (v *volume) describe(notes []string) filesystem.Info {
	info := filesystem.Info{
		Type:      "vfat",
		UUID:      fmt.Sprintf("%04X-%04X", v.layout.serial>>16, v.layout.serial&0xffff),
		Label:     v.label(),
		BlockSize: v.layout.clusterSize,
		Blocks:    uint64(v.layout.clusters),
		NameMax:   nameMax,
		Notes:     notes,
	}
	dirty, failed := v.marks()
	if dirty {
		info.Notes = append(info.Notes, "The filesystem was not unmounted cleanly: "+
			"FAT has no journal, so what was being written then may be missing or half written.")
	}
	if failed {
		info.Notes = append(info.Notes, "The guest met errors of the disk while it used the filesystem.")
	}
	free, known := v.counted()
	if dirty || !known {
		var err error
		if free, err = v.count(); err != nil {
			info.Notes = append(info.Notes, fmt.Sprintf("How much is free is not known: %v.", err))
		}
	}
	info.Free = free
	return info
}

// label is the name of the entry in the root directory that holds nothing else.
func (v *volume) label() string {
	dir, err := v.directory(rootID)
	if err != nil {
		return ""
	}
	buf := make([]byte, recordSize)
	for slot := range dir.slots() {
		offset, _ := dir.offset(slot * recordSize)
		if readFull(v.dev, buf, offset) != nil {
			break
		}
		r := record(buf)
		if r.isLast() {
			break
		}
		if r.isVolume() && !r.isLong() && !r.isFree() {
			return r.label()
		}
	}
	return ""
}

// marks are the flags in entry 1 of the table, section 4: both bits are cleared while
// there is something to say.
func (v *volume) marks() (dirty, failed bool) {
	dirty = v.layout.dirty
	if v.layout.bits == 12 {
		return dirty, false
	}
	var c cursor
	entry, err := v.table.entry(1, &c)
	if err != nil {
		return dirty, false
	}
	top := v.layout.bits - 1
	if v.layout.bits == 32 {
		top = 27
	}
	return dirty || entry>>top&1 == 0, entry>>(top-1)&1 == 0
}

// counted returns FAT32's count of free clusters, section 5, where there is a sane one.
func (v *volume) counted() (free uint64, known bool) {
	if v.layout.bits != 32 || v.layout.fsInfo == 0 {
		return 0, false
	}
	var b [bootSectorSize]byte
	if readFull(v.dev, b[:], v.layout.fsInfo) != nil {
		return 0, false
	}
	le := binary.LittleEndian
	if le.Uint32(b[0:]) != 0x41615252 || le.Uint32(b[484:]) != 0x61417272 {
		return 0, false
	}
	count := le.Uint32(b[488:])
	return uint64(count), count <= v.layout.clusters
}

// count counts the free clusters in the table. Where the device has holes, all are free.
func (v *volume) count() (uint64, error) {
	free := uint64(v.layout.clusters)
	table := &table{dev: v.dev, layout: v.layout, pages: cache.New[int64, []byte](0)}
	var c cursor
	for cluster := int64(firstCluster); cluster < firstCluster+int64(v.layout.clusters); {
		at := v.layout.table + cluster*int64(v.layout.bits)/8
		start, _, err := v.dev.Data(at)
		if err != nil {
			return 0, err
		}
		if start > at {
			cluster = max(cluster+1, (start-v.layout.table)*8/int64(v.layout.bits))
			continue
		}
		// Up to the end of the page, so that Data is asked once for each page.
		for end := (cluster/entriesPerPage + 1) * entriesPerPage; cluster < min(end, firstCluster+int64(v.layout.clusters)); cluster++ {
			entry, err := table.entry(uint32(cluster), &c)
			if err != nil {
				return 0, err
			}
			if entry != 0 {
				free--
			}
		}
	}
	return free, nil
}

// entriesPerPage is how many entries are looked at before holes are asked for again: those of
// a page of the table, where they have 32 bits.
const entriesPerPage = tablePage / 4
