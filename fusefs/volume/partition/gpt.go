package partition

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	gptSignature = "EFI PART"
	gptHeaderMin = 92
	// maxEntryArray bounds the memory that a header asks for: 16 KiB is usual.
	maxEntryArray = 1 << 20
	minEntry      = 128
	maxEntry      = 4096
)

var le = binary.LittleEndian

// readGPT reads the first header that is whole: the one at the beginning, or one of those
// that may be at the end, counted in sectors of 512 or of 4096 bytes.
func readGPT(disk device.Device, mbr []byte) (Table, error) {
	for _, sectorSize := range []int64{512, 4096} {
		for _, lba := range headerPlaces(disk, mbr, sectorSize) {
			header, err := readHeader(disk, lba, sectorSize)
			if err != nil {
				return Table{}, err
			}
			if header == nil {
				continue
			}
			array, err := header.entries(disk)
			if err != nil {
				return Table{}, err
			}
			if array != nil {
				return header.table(disk, array), nil
			}
		}
	}
	return Table{}, fmt.Errorf("no copy of the GPT that the MBR announces is whole: %w", filesystem.ErrCorrupt)
}

// headerPlaces are the sectors in which a header may be: the second, the last, the last of
// what the disk was when the table was made, and what a damaged first header says.
func headerPlaces(disk device.Device, mbr []byte, sectorSize int64) []uint64 {
	sectors := uint64(disk.Size() / sectorSize)
	places := []uint64{1}
	add := func(lba uint64) {
		if lba > 1 && lba < sectors {
			places = append(places, lba)
		}
	}
	if sectors > 0 {
		add(sectors - 1)
	}
	for _, e := range entries(mbr) {
		if e.kind == protective {
			add(e.start + e.count - 1)
		}
	}
	if first, err := readAt(disk, sectorSize, gptHeaderMin); err == nil && string(first[:8]) == gptSignature {
		add(le.Uint64(first[32:]))
	}
	return places
}

// gptHeader is a header whose checksum is right.
type gptHeader struct {
	sectorSize  int64
	arrayAt     uint64 // sector
	count, size uint32 // of entries, and bytes of each
	arrayCRC    uint32
}

// readHeader returns nil where there is no header, or a damaged one.
func readHeader(disk device.Device, lba uint64, sectorSize int64) (*gptHeader, error) {
	raw, err := readAt(disk, int64(lba)*sectorSize, int(sectorSize))
	if err != nil {
		return nil, err
	}
	length := le.Uint32(raw[12:])
	if string(raw[:8]) != gptSignature || length < gptHeaderMin || int64(length) > sectorSize || le.Uint64(raw[24:]) != lba {
		return nil, nil
	}
	sum := le.Uint32(raw[16:])
	clear(raw[16:20])
	if crc32.ChecksumIEEE(raw[:length]) != sum {
		return nil, nil
	}
	h := &gptHeader{
		sectorSize: sectorSize, arrayAt: le.Uint64(raw[72:]),
		count: le.Uint32(raw[80:]), size: le.Uint32(raw[84:]), arrayCRC: le.Uint32(raw[88:]),
	}
	if h.size < minEntry || h.size > maxEntry || h.size&(h.size-1) != 0 || uint64(h.count)*uint64(h.size) > maxEntryArray {
		return nil, nil
	}
	return h, nil
}

// entries returns nil where the array of entries is damaged.
func (h *gptHeader) entries(disk device.Device) ([]byte, error) {
	if h.arrayAt >= uint64(disk.Size()/h.sectorSize) {
		return nil, nil
	}
	array, err := readAt(disk, int64(h.arrayAt)*h.sectorSize, int(h.count*h.size))
	if err != nil || crc32.ChecksumIEEE(array) != h.arrayCRC {
		return nil, err
	}
	return array, nil
}

func (h *gptHeader) table(disk device.Device, array []byte) Table {
	table := Table{Kind: GPT, SectorSize: h.sectorSize}
	for i := 0; i < int(h.count) && i < maxPartitions; i++ {
		raw := array[i*int(h.size):][:minEntry]
		kind := guid(raw)
		if kind == "00000000-0000-0000-0000-000000000000" {
			continue
		}
		p := Partition{Number: i + 1, Type: kind, TypeName: gptType(kind), UUID: guid(raw[16:]), Name: name(raw[56:])}
		first, last := le.Uint64(raw[32:]), le.Uint64(raw[40:])
		if last < first || last-first+1 == 0 {
			p.Err = fmt.Errorf("its last sector, %d, is before its first, %d: %w", last, first, filesystem.ErrCorrupt)
		} else {
			p.place(disk, first, last-first+1, h.sectorSize)
		}
		table.Partitions = append(table.Partitions, p)
	}
	return table
}

// guid prints a GUID, of which the first three fields are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// name decodes a partition's name, of 36 UTF-16 units.
func name(b []byte) string {
	units := make([]uint16, 0, 36)
	for i := 0; i < 72; i += 2 {
		unit := le.Uint16(b[i:])
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return strings.ToValidUTF8(string(utf16.Decode(units)), "\uFFFD")
}
