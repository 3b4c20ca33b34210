package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/google/uuid"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	superSize  = 4096
	superMagic = "_BHRfS_M"
)

// superOffsets are where the superblock and its copies lie, as far as a device reaches.
var superOffsets = []int64{64 << 10, 64 << 20, 256 << 30}

// Offsets within a superblock ([format], "Superblock").
const (
	superCsumType = 0xc4
	superDevItem  = 0xc9
	superLabel    = 0x12b
	superMetaUUID = 0x23b
	superChunks   = 0x32b

	superChunksMax = 2048
	superLabelMax  = 256
)

// Superblock flags of filesystems that are something else, or in the middle of being
// converted by btrfstune, which the kernel refuses as well.
const superFlagsRefused = 1<<33 | 1<<34 | // metadata images
	1<<35 | // changing the UUID
	1<<38 | 1<<39 | 1<<40 // changing to a block group tree, or checksums

// superblock is the part of a superblock that matters to a reader.
type superblock struct {
	fsid       [16]byte
	metaUUID   [16]byte // in the header of each node
	generation uint64
	root       nodeRef
	chunkRoot  nodeRef
	logRoot    nodeRef // at 0 where there is no log
	totalBytes uint64
	usedBytes  uint64
	rootDir    uint64 // the directory in the root tree that names the default subvolume
	devices    uint64
	sectorSize uint32
	nodeSize   uint32
	flags      uint64
	compatRO   uint64
	incompat   uint64
	csum       checksum
	devID      uint64
	label      string
	chunks     []byte // the system chunks
}

// readSuper returns the superblock of a device, and whether that is not the first one.
// As for the kernel, it is the first copy that says whether there is a btrfs at all;
// only where its magic is there and its checksum is wrong, the newest valid copy serves.
func readSuper(d device.Device, sums func(checksum) checksum) (*superblock, bool, error) {
	first, err := readSuperAt(d, superOffsets[0], sums)
	if err == nil || !errors.Is(err, filesystem.ErrCorrupt) {
		return first, false, err
	}
	var newest *superblock
	for _, off := range superOffsets[1:] {
		if s, err := readSuperAt(d, off, sums); err == nil && (newest == nil || s.generation > newest.generation) {
			newest = s
		}
	}
	if newest == nil {
		return nil, false, err
	}
	return newest, true, nil
}

func readSuperAt(d device.Device, off int64, sums func(checksum) checksum) (*superblock, error) {
	b := make([]byte, superSize)
	if _, err := d.ReadAt(b, off); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("no superblock: %w", filesystem.ErrUnknown)
	} else if err != nil {
		return nil, fmt.Errorf("reading the superblock at %d: %w", off, err)
	}
	if string(b[0x40:0x48]) != superMagic {
		return nil, fmt.Errorf("no superblock: %w", filesystem.ErrUnknown)
	}
	csum, ok := checksums[le.Uint16(b[superCsumType:])]
	if !ok {
		return nil, unsupported("checksum type %d", le.Uint16(b[superCsumType:]))
	}
	csum = sums(csum)
	if !csum.matches(b[32:], b[:csum.size]) {
		return nil, corrupt("superblock at %d: wrong checksum", off)
	}
	if at := le.Uint64(b[0x30:]); at != uint64(off) {
		return nil, corrupt("superblock at %d says that it lies at %d", off, at)
	}
	return parseSuper(b, csum)
}

func parseSuper(b []byte, csum checksum) (*superblock, error) {
	s := &superblock{
		generation: le.Uint64(b[0x48:]),
		totalBytes: le.Uint64(b[0x70:]),
		usedBytes:  le.Uint64(b[0x78:]),
		rootDir:    le.Uint64(b[0x80:]),
		devices:    le.Uint64(b[0x88:]),
		sectorSize: le.Uint32(b[0x90:]),
		nodeSize:   le.Uint32(b[0x94:]),
		flags:      le.Uint64(b[0x38:]),
		compatRO:   le.Uint64(b[0xb4:]),
		incompat:   le.Uint64(b[0xbc:]),
		csum:       csum,
		devID:      le.Uint64(b[superDevItem:]),
	}
	copy(s.fsid[:], b[0x20:])
	s.metaUUID = s.fsid
	if s.incompat&featureMetadataUUID != 0 {
		copy(s.metaUUID[:], b[superMetaUUID:])
	}
	s.root = nodeRef{le.Uint64(b[0x50:]), s.generation, b[0xc6]}
	s.chunkRoot = nodeRef{le.Uint64(b[0x58:]), le.Uint64(b[0xa4:]), b[0xc7]}
	// The log belongs to the transaction that was not committed.
	s.logRoot = nodeRef{le.Uint64(b[0x60:]), s.generation + 1, b[0xc8]}
	label, _, _ := bytes.Cut(b[superLabel:superLabel+superLabelMax], []byte{0})
	s.label = string(label)
	size := le.Uint32(b[0xa0:])
	if size > superChunksMax {
		return nil, corrupt("superblock: %d bytes of system chunks", size)
	}
	s.chunks = bytes.Clone(b[superChunks : superChunks+size])
	return s, s.check()
}

// check refuses what this package, or the kernel, does not read.
func (s *superblock) check() error {
	if unknown := s.incompat &^ knownFeatures; unknown != 0 {
		bit := bits.TrailingZeros64(unknown)
		if name := unsupportedFeatures[bit]; name != "" {
			return unsupported("feature %s", name)
		}
		return unsupported("incompatible feature %#x", uint64(1)<<bit)
	}
	if refused := s.flags & superFlagsRefused; refused != 0 {
		return unsupported("superblock flags %#x", refused)
	}
	for name, size := range map[string]uint32{"sectors": s.sectorSize, "nodes": s.nodeSize} {
		if bits.OnesCount32(size) != 1 || size < 4096 || size > 65536 {
			return corrupt("superblock: %s of %d bytes", name, size)
		}
	}
	if s.nodeSize < s.sectorSize {
		return corrupt("superblock: nodes of %d bytes, sectors of %d", s.nodeSize, s.sectorSize)
	}
	if s.devices == 0 {
		return corrupt("superblock: no devices")
	}
	return nil
}

func (s *superblock) uuid() string { return uuid.UUID(s.fsid).String() }
