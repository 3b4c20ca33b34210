package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	sector       = 512
	labelSectors = 4
	uuidSize     = 32
	// maxMetadata bounds the text of a group that is read; LVM's areas are 1 MiB unless
	// somebody asks for more.
	maxMetadata = 8 << 20
	mdaHeader   = 512
	mdaMagic    = "\x20LVM2\x20x[5A%r0N*>"
	ignored     = 1 // flag of a location whose metadata is not kept up to date
)

// physical is a device with a label.
type physical struct {
	device device.Device
	name   string
	uuid   string // 32 characters
	areas  []extent
}

// extent is a range of bytes of a device.
type extent struct{ off, size uint64 }

// checksum is LVM's CRC-32: the usual polynomial, another start, no inversion at the end.
func checksum(data []byte) uint32 {
	const start = 0xf597a6cf
	return ^crc32.Update(^uint32(start), crc32.IEEETable, data)
}

// readLabel reads the label in one of the first four sectors.
func readLabel(d device.Device) (*physical, error) {
	raw := make([]byte, labelSectors*sector)
	if _, err := d.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the LVM label: %w", err)
	}
	le := binary.LittleEndian
	for i := range labelSectors {
		label := raw[i*sector:][:sector]
		if string(label[:8]) != "LABELONE" || string(label[24:32]) != "LVM2 001" || le.Uint64(label[8:]) != uint64(i) {
			continue
		}
		if checksum(label[20:]) != le.Uint32(label[16:]) {
			return nil, fmt.Errorf("the LVM label in sector %d: wrong checksum: %w", i, filesystem.ErrCorrupt)
		}
		at := le.Uint32(label[20:])
		if at < 32 || at > sector-uuidSize-8 {
			return nil, fmt.Errorf("the LVM label in sector %d: its content at %d: %w", i, at, filesystem.ErrCorrupt)
		}
		header := label[at:]
		p := &physical{device: d, uuid: string(header[:uuidSize])}
		_, rest := locations(header[uuidSize+8:])
		p.areas, _ = locations(rest)
		return p, nil
	}
	return nil, fmt.Errorf("no LVM label: %w", filesystem.ErrCorrupt)
}

// locations reads a list that an empty entry ends.
func locations(raw []byte) (list []extent, rest []byte) {
	for len(raw) >= 16 {
		e := extent{binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])}
		raw = raw[16:]
		if e.off == 0 {
			break
		}
		list = append(list, e)
	}
	return list, raw
}

// metadata returns the text that an area holds; nil where it holds none.
func (p *physical) metadata(area extent) ([]byte, error) {
	size := uint64(p.device.Size())
	if area.off > size || area.size > size-area.off || area.size <= mdaHeader {
		return nil, fmt.Errorf("LVM metadata area, %d bytes at %d of %d: %w", area.size, area.off, size, filesystem.ErrCorrupt)
	}
	raw := make([]byte, mdaHeader)
	if _, err := p.device.ReadAt(raw, int64(area.off)); err != nil {
		return nil, fmt.Errorf("reading LVM metadata: %w", err)
	}
	le := binary.LittleEndian
	if string(raw[4:20]) != mdaMagic || checksum(raw[4:]) != le.Uint32(raw) || le.Uint32(raw[20:]) != 1 || le.Uint64(raw[24:]) != area.off {
		return nil, fmt.Errorf("the header of the LVM metadata at %d: %w", area.off, filesystem.ErrCorrupt)
	}
	off, length, sum, flags := le.Uint64(raw[40:]), le.Uint64(raw[48:]), le.Uint32(raw[56:]), le.Uint32(raw[60:])
	if off == 0 || flags&ignored != 0 {
		return nil, nil
	}
	if off < mdaHeader || off >= area.size || length == 0 || length > area.size-mdaHeader || length > maxMetadata {
		return nil, fmt.Errorf("LVM metadata, %d bytes at %d of an area of %d: %w", length, off, area.size, filesystem.ErrCorrupt)
	}
	text := make([]byte, length)
	// The area is a ring behind its header.
	first := min(length, area.size-off)
	if _, err := p.device.ReadAt(text[:first], int64(area.off+off)); err != nil {
		return nil, fmt.Errorf("reading LVM metadata: %w", err)
	}
	if first < length {
		if _, err := p.device.ReadAt(text[first:], int64(area.off+mdaHeader)); err != nil {
			return nil, fmt.Errorf("reading LVM metadata: %w", err)
		}
	}
	if checksum(text) != sum {
		return nil, fmt.Errorf("the LVM metadata at %d: wrong checksum: %w", area.off+off, filesystem.ErrCorrupt)
	}
	return text, nil
}
