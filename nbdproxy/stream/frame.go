package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"
)

const (
	frameHeaderSize = 32
	extentSize      = 16
	// trailerSize is the payload of a disk end and of the end mark: frames, data
	// bytes, zero bytes, digest.
	trailerSize = 32
)

// frameHeader precedes each frame.
type frameHeader struct {
	kind    Kind
	codec   Codec
	disk    uint16
	extents uint32 // number of entries in the extent table
	raw     uint32 // bytes of payload, uncompressed
	stored  uint32 // bytes of payload as they follow
	content uint64 // hash over what the frame says, see contentHash
}

// put writes the header and its checksum to b.
func (h *frameHeader) put(b []byte, key uint64) {
	b[0], b[1] = byte(h.kind), byte(h.codec)
	binary.LittleEndian.PutUint16(b[2:], h.disk)
	binary.LittleEndian.PutUint32(b[4:], h.extents)
	binary.LittleEndian.PutUint32(b[8:], h.raw)
	binary.LittleEndian.PutUint32(b[12:], h.stored)
	binary.LittleEndian.PutUint64(b[16:], h.content)
	binary.LittleEndian.PutUint64(b[24:], xxh3.HashSeed(b[:24], key))
}

// parse reads what put wrote and checks everything that needs no other frame, so
// that memory can be taken for what it announces.
func (h *frameHeader) parse(b []byte, key uint64) error {
	if xxh3.HashSeed(b[:24], key) != binary.LittleEndian.Uint64(b[24:]) {
		return errors.New("a frame's header does not match its checksum")
	}
	h.kind, h.codec = Kind(b[0]), Codec(b[1])
	h.disk = binary.LittleEndian.Uint16(b[2:])
	h.extents = binary.LittleEndian.Uint32(b[4:])
	h.raw = binary.LittleEndian.Uint32(b[8:])
	h.stored = binary.LittleEndian.Uint32(b[12:])
	h.content = binary.LittleEndian.Uint64(b[16:])
	if !h.codec.known() {
		return fmt.Errorf("unknown codec %d", h.codec)
	}
	switch h.kind {
	case KindData:
		if h.raw < 1 || h.raw > MaxPayload || h.extents < 1 || h.extents > MaxExtents {
			return fmt.Errorf("data frame of %d bytes in %d extents", h.raw, h.extents)
		}
	case KindZero:
		if h.raw != 0 || h.codec != CodecNone || h.extents < 1 || h.extents > MaxExtents {
			return fmt.Errorf("zero frame of %d extents with %d bytes", h.extents, h.raw)
		}
	case KindDiskEnd, kindEnd, kindLaneEnd:
		if h.raw != trailerSize || h.codec != CodecNone || h.extents != 0 {
			return fmt.Errorf("end frame with %d extents and %d bytes", h.extents, h.raw)
		}
		if h.kind != KindDiskEnd && h.disk != 0 {
			return errors.New("the end mark names a disk")
		}
	default:
		return fmt.Errorf("unknown frame type %d", h.kind)
	}
	if h.codec == CodecNone && h.stored != h.raw || h.codec != CodecNone && h.stored >= h.raw {
		return fmt.Errorf("frame of %d bytes stored as %d with codec %d", h.raw, h.stored, h.codec)
	}
	return nil
}

// contentHash covers what the frame says, however it is compressed: its type,
// disk and lengths, its extent table and its uncompressed payload.
func (h *frameHeader) contentHash(table, payload []byte, key uint64) uint64 {
	var b [28]byte
	b[0] = byte(h.kind)
	binary.LittleEndian.PutUint16(b[2:], h.disk)
	binary.LittleEndian.PutUint32(b[4:], h.extents)
	binary.LittleEndian.PutUint32(b[8:], h.raw)
	binary.LittleEndian.PutUint64(b[12:], xxh3.HashSeed(table, key))
	binary.LittleEndian.PutUint64(b[20:], xxh3.HashSeed(payload, key))
	return xxh3.HashSeed(b[:], key)
}

// appendExtents appends the extent table.
func appendExtents(b []byte, extents []Extent) []byte {
	for _, e := range extents {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Offset))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Length))
	}
	return b
}

// parseExtents appends the entries of a table to extents.
func parseExtents(extents []Extent, table []byte) []Extent {
	for ; len(table) >= extentSize; table = table[extentSize:] {
		extents = append(extents, Extent{
			Offset: int64(binary.LittleEndian.Uint64(table)),
			Length: int64(binary.LittleEndian.Uint64(table[8:])),
		})
	}
	return extents
}

// checkExtents returns the sum of the extents' lengths, or why they are not
// ascending, disjoint and within a disk of size bytes.
func checkExtents(extents []Extent, size int64) (int64, error) {
	var sum, end int64
	for _, e := range extents {
		if e.Length < 1 || e.Offset < end || e.Offset > size || e.Length > size-e.Offset {
			return 0, fmt.Errorf("extent of %d bytes at %d, after one that ends at %d, on a disk of %d bytes",
				e.Length, e.Offset, end, size)
		}
		end = e.End()
		sum += e.Length
	}
	return sum, nil
}

// trailer is the payload of a disk end or of the end mark.
func (s *DiskSum) trailer() []byte {
	b := make([]byte, 0, trailerSize)
	for _, v := range []uint64{uint64(s.Frames), uint64(s.DataBytes), uint64(s.ZeroBytes), s.Digest} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// parseTrailer reads what trailer wrote.
func parseTrailer(b []byte) DiskSum {
	return DiskSum{
		Frames:    int64(binary.LittleEndian.Uint64(b)),
		DataBytes: int64(binary.LittleEndian.Uint64(b[8:])),
		ZeroBytes: int64(binary.LittleEndian.Uint64(b[16:])),
		Digest:    binary.LittleEndian.Uint64(b[24:]),
	}
}

// total sums up all disks, for the end mark.
func total(disks []DiskSum) DiskSum {
	var t DiskSum
	for _, d := range disks {
		t.Frames += d.Frames
		t.DataBytes += d.DataBytes
		t.ZeroBytes += d.ZeroBytes
		t.Digest += d.Digest
	}
	return t
}
