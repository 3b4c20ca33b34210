package ext

import (
	"fmt"
	"io"
)

// Bounds of what a filesystem keeps in memory, whatever it holds: bytes of blocks of
// metadata, and of inodes.
const (
	cachedBlockBytes = 2 << 20
	cachedInodeBytes = 1 << 20
	cachedInodes     = 2048
)

// reader finds and checks what lies on a device.
type reader struct {
	dev    io.ReaderAt
	sb     *superblock
	blocks *cache[blockKey, []byte]
	inodes *cache[uint32, *inode]
}

// blockKey names a block of metadata, and whose it is: checksums are those of an inode,
// so that a block checked for one is not checked for another. The owner of group
// descriptors and inode tables is 0.
type blockKey struct {
	block uint64
	owner uint32
}

func newReader(dev io.ReaderAt, sb *superblock) *reader {
	return &reader{
		dev:    dev,
		sb:     sb,
		blocks: newCache[blockKey, []byte](int(cachedBlockBytes / sb.blockSize)),
		inodes: newCache[uint32, *inode](int(min(cachedInodes, cachedInodeBytes/sb.inodeSize))),
	}
}

// block returns a block of metadata after check, if not nil, has approved of it. The
// bytes are shared: nobody may change them.
func (r *reader) block(key blockKey, check func([]byte) error) ([]byte, error) {
	if b, ok := r.blocks.get(key); ok {
		return b, nil
	}
	b := make([]byte, r.sb.blockSize)
	if err := r.read(b, key.block); err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(b); err != nil {
			return nil, err
		}
	}
	r.blocks.put(key, b)
	return b, nil
}

// read fills b with what lies at a block.
func (r *reader) read(b []byte, block uint64) error {
	if block >= r.sb.blocks {
		return corrupt("block %d of %d", block, r.sb.blocks)
	}
	if n, err := r.dev.ReadAt(b, int64(block)<<r.sb.blockBits); n < len(b) {
		return fmt.Errorf("ext: reading block %d: %w", block, err)
	}
	return nil
}
