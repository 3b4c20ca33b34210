package ntfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// layout is what the boot sector tells.
type layout struct {
	clusterSize int64
	clusters    int64
	mft         int64 // where $MFT begins, in bytes
	recordSize  int64 // of $MFT
	serial      uint64
}

const (
	sectorSize     = 512 // the unit of update sequences, whatever the disk's sectors are
	maxClusterSize = 2 << 20
	minRecordSize  = 512
	maxRecordSize  = 4096
)

func readLayout(d device.Device) (layout, error) {
	var b [sectorSize]byte
	unknown := func(what string) (layout, error) {
		return layout{}, fmt.Errorf("no boot sector of NTFS: %s: %w", what, filesystem.ErrUnknown)
	}
	if d.Size() < sectorSize {
		return unknown("size")
	}
	if err := readFull(d, b[:], 0); err != nil {
		return layout{}, err
	}
	if string(b[3:11]) != "NTFS    " || b[510] != 0x55 || b[511] != 0xaa {
		return unknown("signature")
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	if sector < 256 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1 {
		return unknown("sector size")
	}
	// Beyond 128 sectors a cluster's size is a negative power of 2.
	perCluster := int64(b[13])
	if perCluster > 0x80 {
		if perCluster < 0xf0 {
			return unknown("cluster size")
		}
		perCluster = 1 << (256 - perCluster)
	}
	l := layout{clusterSize: sector * perCluster, serial: le.Uint64(b[72:])}
	if bits.OnesCount64(uint64(perCluster)) != 1 || l.clusterSize < sectorSize || l.clusterSize > maxClusterSize {
		return unknown("cluster size")
	}
	sectors := int64(le.Uint64(b[40:]))
	if sectors <= 0 || sectors > 1<<62/sector {
		return unknown("number of sectors")
	}
	l.clusters = sectors * sector / l.clusterSize
	first := int64(le.Uint64(b[48:]))
	if first <= 0 || first >= l.clusters {
		return unknown("place of $MFT")
	}
	l.mft = first * l.clusterSize
	l.recordSize = sizeOf(int8(b[64]), l.clusterSize)
	if l.recordSize < minRecordSize || l.recordSize > maxRecordSize || bits.OnesCount64(uint64(l.recordSize)) != 1 {
		return unknown("record size")
	}
	return l, nil
}

// sizeOf reads a size given in clusters, or as a negative power of 2 in bytes.
func sizeOf(n int8, clusterSize int64) int64 {
	if n < 0 {
		if n < -31 {
			return 0
		}
		return 1 << -n
	}
	return int64(n) * clusterSize
}
