package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// layout is where everything lies, in bytes from the device's begin, as the boot sector
// tells it.
type layout struct {
	bits        int // of an entry in the table: 12, 16 or 32
	clusterSize int64
	clusters    uint32 // how many; they are numbered from 2 on
	data        int64  // where cluster 2 begins

	table     int64 // the copy of the table in use
	tableSize int64

	root        int64 // FAT12 and FAT16: where the root directory lies
	rootSize    int64
	rootCluster uint32 // FAT32: its first cluster

	fsInfo int64 // FAT32: the sector that counts free clusters, 0 for none
	serial uint32
	dirty  bool // as the boot sector has it
}

// firstCluster is the number of the first cluster: those before it have no data.
const firstCluster = 2

func (l *layout) valid(cluster uint32) bool {
	return cluster >= firstCluster && cluster-firstCluster < l.clusters
}

// offset is where a valid cluster begins.
func (l *layout) offset(cluster uint32) int64 {
	return l.data + int64(cluster-firstCluster)*l.clusterSize
}

const (
	backupSector   = 6 // where mkfs programs put FAT32's second boot sector
	bootSectorSize = 512
)

// readLayout reads the boot sector, or the second one of FAT32 where the first still says
// that it is FAT32 and nothing else makes sense.
func readLayout(d device.Device) (layout, []string, error) {
	var boot [bootSectorSize]byte
	if d.Size() < bootSectorSize {
		return layout{}, nil, fmt.Errorf("%d bytes are too few for FAT: %w", d.Size(), filesystem.ErrUnknown)
	}
	if err := readFull(d, boot[:], 0); err != nil {
		return layout{}, nil, err
	}
	l, err := parseBoot(boot[:])
	if err == nil || !bytes.Equal(boot[82:87], []byte("FAT32")) {
		return l, nil, err
	}
	for sector := int64(512); sector <= 4096; sector *= 2 {
		at := backupSector * sector
		if at+bootSectorSize > d.Size() || readFull(d, boot[:], at) != nil {
			break
		}
		if l, err := parseBoot(boot[:]); err == nil && l.bits == 32 {
			return l, []string{"The boot sector is damaged; its backup copy was used."}, nil
		}
	}
	return layout{}, nil, err
}

// parseBoot reads the BIOS parameter block, section 3 of the specification. The checks are
// those of Linux, and the signatures, since what follows is taken for a filesystem.
func parseBoot(b []byte) (layout, error) {
	unknown := func(what string) (layout, error) {
		return layout{}, fmt.Errorf("no boot sector of FAT: %s: %w", what, filesystem.ErrUnknown)
	}
	if b[510] != 0x55 || b[511] != 0xaa || (b[0] != 0xeb && b[0] != 0xe9) {
		return unknown("signature")
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	reserved := int64(le.Uint16(b[14:]))
	copies := int64(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	total := int64(le.Uint16(b[19:]))
	tableSectors := int64(le.Uint16(b[22:]))
	switch {
	case sector < 512 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1:
		return unknown("sector size")
	case bits.OnesCount64(uint64(perCluster)) != 1:
		return unknown("cluster size")
	case reserved == 0:
		return unknown("reserved sectors")
	case copies == 0:
		return unknown("number of tables")
	case b[21] < 0xf8 && b[21] != 0xf0:
		return unknown("media type")
	}
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	l := layout{clusterSize: sector * perCluster, table: reserved * sector}
	if tableSectors == 0 {
		tableSectors = int64(le.Uint32(b[36:]))
		if version := le.Uint16(b[42:]); version != 0 {
			return layout{}, fmt.Errorf("FAT32 of version %d: %w", version, filesystem.ErrUnsupported)
		}
		l.bits = 32
		l.rootCluster = le.Uint32(b[44:])
		l.fsInfo = int64(le.Uint16(b[48:])) * sector
		l.serial, l.dirty = le.Uint32(b[67:]), b[65]&1 != 0
	} else {
		l.serial, l.dirty = le.Uint32(b[39:]), b[37]&1 != 0
	}
	l.tableSize = tableSectors * sector
	l.root = l.table + copies*l.tableSize
	l.rootSize = rootEntries * recordSize
	l.data = l.root + (l.rootSize+sector-1)/sector*sector
	if tableSectors == 0 || total*sector <= l.data {
		return unknown("sizes")
	}
	clusters := (total*sector - l.data) / l.clusterSize
	if l.bits == 0 {
		l.bits = 16
		if clusters < 4085 {
			l.bits = 12
		}
	}
	clusters = min(clusters, l.tableSize*8/int64(l.bits)-firstCluster, 0x0ffffff7-firstCluster)
	if clusters <= 0 {
		return unknown("number of clusters")
	}
	l.clusters = uint32(clusters)
	if l.bits == 32 {
		// Without mirroring, one copy of the table is in use; section 3.3.
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 {
			active := int64(flags & 0x0f)
			if active >= copies {
				return unknown("active table")
			}
			l.table += active * l.tableSize
		}
		l.rootSize = 0
	}
	return l, nil
}
