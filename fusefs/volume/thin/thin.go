// Package thin reads device-mapper's thin pools: volumes whose chunks are somewhere in a
// data device that they share, as B-trees in a metadata device say (kernel documentation,
// device-mapper/thin-provisioning and persistent-data).
//
// It shows what the last transaction that the pool committed holds. It must never follow a
// block of metadata whose checksum is wrong.
package thin

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	blockSize       = 4096 // of metadata
	sector          = 512
	superMagic      = 27022010
	superCRCSalt    = 160774
	nodeCRCSalt     = 121107
	minChunk        = 64 << 10
	maxChunk        = 1 << 30
	mappingTreeRoot = 320
)

// Pool is an open thin pool. It may be used by many goroutines at once, and keeps at most
// 1 MiB of metadata.
type Pool struct {
	meta, data device.Device
	chunk      int64
	devices    uint64 // root of the tree from volumes to their mappings
	cache      cache
}

// Open reads the superblock of a pool.
func Open(meta, data device.Device) (*Pool, error) {
	raw := make([]byte, blockSize)
	if _, err := meta.ReadAt(raw, 0); err != nil {
		return nil, fmt.Errorf("reading the thin pool's superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint64(raw[32:]) != superMagic {
		return nil, fmt.Errorf("the thin pool has no superblock: %w", filesystem.ErrCorrupt)
	}
	if !sealed(raw, superCRCSalt) {
		return nil, fmt.Errorf("the thin pool's superblock: wrong checksum: %w", filesystem.ErrCorrupt)
	}
	if v := le.Uint32(raw[40:]); v != 1 && v != 2 {
		return nil, fmt.Errorf("thin pool of version %d: %w", v, filesystem.ErrUnsupported)
	}
	if incompatible := le.Uint32(raw[360:]); incompatible != 0 {
		return nil, fmt.Errorf("thin pool with incompatible features %#x: %w", incompatible, filesystem.ErrUnsupported)
	}
	p := &Pool{meta: meta, data: data, devices: le.Uint64(raw[mappingTreeRoot:]), chunk: int64(le.Uint32(raw[336:])) * sector}
	if p.chunk < minChunk || p.chunk > maxChunk || p.chunk%minChunk != 0 {
		return nil, fmt.Errorf("thin pool in chunks of %d bytes: %w", p.chunk, filesystem.ErrCorrupt)
	}
	return p, nil
}

// ChunkSize is the number of bytes that the pool gives out at once.
func (p *Pool) ChunkSize() int64 { return p.chunk }

// sealed checks the CRC-32C at a block's beginning, which covers the rest of it. Each kind
// of block has a number of its own mixed in.
func sealed(block []byte, salt uint32) bool {
	sum := ^crc32.Checksum(block[4:], crc32.MakeTable(crc32.Castagnoli)) ^ salt
	return sum == binary.LittleEndian.Uint32(block)
}
