package btrfs

import (
	"sync"

	"github.com/klauspost/compress/zstd"

	"vmsync/fusefs/filesystem"
)

// What is kept in memory of an open filesystem, besides its chunks and a log.
const (
	nodeCacheBytes  = 4 << 20
	extentCacheSize = 8 // decompressed extents, of at most 128 KiB each
	subvolumeCache  = 256
	scratchBytes    = 64 << 10
)

// reader is an open filesystem.
type reader struct {
	super  *superblock
	volume *volume
	nodes  *cache[*node]

	roots   *tree // the tree of trees
	csums   *sums
	root    filesystem.ID
	label   string
	notes   []string
	ids     idTable
	trees   *cache[*tree]
	logged  map[uint64]*overlay // what a log changes, by subvolume
	extents *cache[*plainExtent]

	scratch   sync.Pool // *[scratchBytes]byte
	packed    sync.Pool // *[maxExtent]byte
	inflaters sync.Pool // what zlib.NewReader returns
	zstd      *zstd.Decoder

	diskUsed func() (uint64, error) // once
}

var _ filesystem.FS = (*reader)(nil)
