// Package partition reads the partition tables of disks: GPT (UEFI specification 2.10,
// section 5) and the MBR with its chain of extended boot records.
//
// It shows what the guest's kernel would show. It must never make a partition of bytes
// that lie outside of the disk, and it must never take the boot sector of a filesystem
// for a table.
package partition

import (
	"errors"
	"fmt"
	"io"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem/probe"
)

// maxPartitions is how many partitions Linux shows of a disk.
const maxPartitions = 256

// Kinds of tables, in blkid's words.
const (
	GPT = "gpt"
	DOS = "dos"
)

// Table is a disk's partition table.
type Table struct {
	Kind       string // GPT or DOS; "" where the disk has no table
	SectorSize int64  // bytes in which the table counts
	Partitions []Partition
}

// Partition is one entry. Extended partitions, which hold others, are not among them.
type Partition struct {
	Number        int    // as in the guest's device names: from 1, logical ones from 5
	Start, Length int64  // bytes
	Type          string // GUID in small letters, or "0x83"
	TypeName      string // a known type in words, otherwise as Type
	UUID          string // of the partition, as blkid's PARTUUID
	Name          string // given to a GPT partition; may hold anything but a zero byte
	Err           error  // why it cannot be read: it lies outside of the disk
}

// Read reads the table of a disk; a disk without one has no partitions and no error. Where
// the MBR announces a GPT of which both copies are damaged, the error wraps
// filesystem.ErrCorrupt.
func Read(disk device.Device) (Table, error) {
	mbr, err := readAt(disk, 0, 512)
	if err != nil {
		return Table{}, err
	}
	if !signed(mbr) {
		return Table{}, nil
	}
	for _, e := range entries(mbr) {
		if e.kind == protective {
			return readGPT(disk, mbr)
		}
	}
	kind, err := probe.Kind(disk)
	if err != nil {
		return Table{}, err
	}
	switch kind {
	case probe.VFAT, probe.NTFS, probe.ExFAT, probe.ReFS, probe.BitLocker:
		return Table{}, nil // their boot sectors end with the same signature
	}
	return readMBR(disk, mbr)
}

// place fits a partition of the given sectors into the disk.
func (p *Partition) place(disk device.Device, start, count uint64, sectorSize int64) {
	all := uint64(disk.Size())
	unit := uint64(sectorSize)
	if start >= all/unit || count > all/unit-start {
		p.Err = fmt.Errorf("sectors %d and the %d after it, of a disk of %d: %w", start, count, all/unit, device.ErrOutOfRange)
		return
	}
	p.Start, p.Length = int64(start*unit), int64(count*unit)
}

// readAt returns n bytes, zeros where the disk ends before.
func readAt(disk device.Device, off int64, n int) ([]byte, error) {
	buf := make([]byte, n)
	if _, err := disk.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the partition table at byte %d: %w", off, err)
	}
	return buf, nil
}
