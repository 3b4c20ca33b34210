package image

import (
	"sync"
	"sync/atomic"

	"vmsync/fusefs/blockcache"
)

// A Cache holds what images opened with it keep in memory, at most its size in bytes: L1
// tables, where the parts of the disks lie in the files, and clusters that were
// decompressed. Other data it leaves to the kernel's page cache. Images opened with one
// Cache share the files that their chains have in common, and what it knows of them. A
// Cache may be used by many goroutines at once; there is nothing to close.
type Cache struct {
	blocks *blockcache.Cache[blockKey, block]
	last   atomic.Uint64 // owner that was given out last

	mu    sync.Mutex
	files map[fileKey]*file // those that may be shared

	inflaters sync.Pool // of *inflater
	unzstds   sync.Pool // of *unzstd
	inputs    sync.Pool // of *[]byte, compressed data
	resolvers sync.Pool // of *resolver
}

// blockKey names a block: of an image the mapping of a part, of a file a decompressed cluster.
type blockKey struct {
	owner uint64 // image's or file's id
	index uint64 // the part's first byte, or the compressed cluster's descriptor
}

// block is one of the two.
type block struct {
	mapping []run
	cluster []byte
}

// Stats tells what a Cache holds and how it was used.
type Stats struct {
	Bytes  int64  // held in memory, never above what NewCache was given
	Hits   uint64 // lookups that were answered from the cache
	Misses uint64 // lookups that had to read
	Files  int    // open files that several images may share
}

// NewCache makes a cache of at most so many bytes. Each 32 MiB of an image with the usual
// clusters of 64 KiB take 0.3 to 8 KiB when they were read, so 16 MiB do for disks of which
// 64 GiB are in use at a time, however much they are fragmented. Buffers of reads under way are not
// counted, a cluster's size at most for each.
func NewCache(bytes int64) *Cache {
	return &Cache{
		blocks: blockcache.New[blockKey, block](bytes),
		files:  map[fileKey]*file{},
	}
}

// Stats tells what the cache holds at the moment.
func (c *Cache) Stats() Stats {
	s := c.blocks.Stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Bytes: s.Bytes, Hits: s.Hits, Misses: s.Misses, Files: len(c.files)}
}

func (c *Cache) newOwner() uint64 { return c.last.Add(1) }

// forget lets go what an owner has in the cache.
func (c *Cache) forget(owner uint64) {
	c.blocks.Drop(func(key blockKey) bool { return key.owner == owner })
}
