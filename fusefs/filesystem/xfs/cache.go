package xfs

import (
	"container/list"
	"sync"
)

// key names a piece of metadata: a block of the filesystem, a block of a directory or of
// an attribute fork, a decoded inode.
type key struct {
	kind   kind
	inode  uint64 // of directory and attribute blocks
	number uint64
}

type kind uint8

const (
	kindInodeBlock kind = iota
	kindTree
	kindDirectory
	kindAttributes
	kindInode
)

// cache keeps what was read and verified last, up to a number of bytes. What is in it
// is never changed.
type cache struct {
	mu    sync.Mutex
	room  int
	byKey map[key]*list.Element
	order list.List // the last used first
}

type cached struct {
	key   key
	value any
	size  int
}

func newCache(room int) *cache { return &cache{room: room, byKey: map[key]*list.Element{}} }

func (c *cache) get(k key) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[k]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(element)
	return element.Value.(*cached).value, true
}

func (c *cache) put(k key, value any, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[k]; ok {
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, value, size})
	c.room -= size
	for c.room < 0 {
		last := c.order.Back()
		dropped := c.order.Remove(last).(*cached)
		delete(c.byKey, dropped.key)
		c.room += dropped.size
	}
}
