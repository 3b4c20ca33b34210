// Package blockcache keeps what was costly to make, in a bounded number of bytes, and
// makes each thing once however many ask for it at the same time. What was used least
// recently goes first.
//
// It must never hold more than its bound, and never keep a failure.
package blockcache

import (
	"errors"
	"fmt"
	"sync"
)

// EntryBytes is what an entry takes beside its value: the entry itself and its place in
// the map. Every entry counts for that much more than its size.
const EntryBytes = 240

// ErrFull is returned by Reserve.
var ErrFull = errors.New("the cache is too small")

// errBroken is what those get who waited for a load that panicked.
var errBroken = errors.New("loading did not end")

// A Cache keeps values by their keys. Every method may be called by many goroutines at once.
type Cache[K comparable, V any] struct {
	limit int64

	mu       sync.Mutex
	entries  map[K]*entry[K, V]
	newest   *entry[K, V]
	oldest   *entry[K, V]
	held     int64 // bytes of the entries in the list, and reserved
	reserved int64
	hits     uint64
	misses   uint64
}

// entry is in the map from the moment when its loading begins, and in the list from
// when it ended.
type entry[K comparable, V any] struct {
	key          K
	value        V
	err          error
	size         int64
	newer, older *entry[K, V]
	loaded       chan struct{} // closed when value and err are there; nil in the list
}

// Stats tells what a cache did.
type Stats struct {
	Bytes  int64  // held, never above Limit
	Limit  int64  // as given to New
	Hits   uint64 // lookups that found their value, or found it being loaded
	Misses uint64 // loads
}

// New makes a cache for at most limit bytes.
func New[K comparable, V any](limit int64) *Cache[K, V] {
	return &Cache[K, V]{limit: max(limit, 0), entries: map[K]*entry[K, V]{}}
}

// Lookup returns the value that is kept for key.
func (c *Cache[K, V]) Lookup(key K) (value V, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || e.loaded != nil {
		return value, false
	}
	c.hits++
	c.touch(e)
	return e.value, true
}

// Load returns the value that is kept for key, or else what load returns, which tells
// also how many bytes that takes. It waits for another goroutine's load of the same key.
// Neither a value too large for the cache nor a failure is kept. load must not use the
// cache for the same key. What is being loaded does not count as held.
func (c *Cache[K, V]) Load(key K, load func() (value V, size int64, err error)) (V, error) {
	c.mu.Lock()
	if e := c.entries[key]; e != nil {
		c.hits++
		if e.loaded == nil {
			c.touch(e)
			c.mu.Unlock()
			return e.value, nil
		}
		loaded := e.loaded
		c.mu.Unlock()
		<-loaded
		return e.value, e.err
	}
	loaded := make(chan struct{})
	e := &entry[K, V]{key: key, err: errBroken, loaded: loaded}
	c.entries[key] = e
	c.misses++
	c.mu.Unlock()

	defer func() {
		c.mu.Lock()
		c.keep(e)
		c.mu.Unlock()
		close(loaded)
	}()
	e.value, e.size, e.err = load()
	e.size += EntryBytes
	return e.value, e.err
}

// keep puts a loaded entry into the list, or forgets it.
func (c *Cache[K, V]) keep(e *entry[K, V]) {
	if c.entries[e.key] != e {
		return // dropped meanwhile
	}
	if e.err != nil || e.size > c.limit-c.reserved {
		delete(c.entries, e.key)
		return
	}
	e.loaded = nil
	c.makeRoom(e.size)
	c.held += e.size
	c.link(e)
}

// Reserve counts size bytes that the caller holds elsewhere as held, and lets entries go
// for them. It returns ErrFull where that leaves more than the bound.
func (c *Cache[K, V]) Reserve(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.limit-c.reserved {
		return fmt.Errorf("%d bytes more than the %d that are left of %d: %w", size, c.limit-c.reserved, c.limit, ErrFull)
	}
	c.makeRoom(size)
	c.reserved += size
	c.held += size
	return nil
}

// Release gives back what Reserve counted.
func (c *Cache[K, V]) Release(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= size
	c.held -= size
}

// Drop lets all entries go whose keys are to. It takes time that grows with the entries.
func (c *Cache[K, V]) Drop(which func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if !which(key) {
			continue
		}
		delete(c.entries, key)
		if e.loaded == nil {
			c.unlink(e)
			c.held -= e.size
		}
	}
}

// Stats tells what the cache did until now.
func (c *Cache[K, V]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Bytes: c.held, Limit: c.limit, Hits: c.hits, Misses: c.misses}
}

func (c *Cache[K, V]) makeRoom(size int64) {
	for c.oldest != nil && c.held > c.limit-size {
		e := c.oldest
		c.unlink(e)
		delete(c.entries, e.key)
		c.held -= e.size
	}
}

func (c *Cache[K, V]) touch(e *entry[K, V]) {
	if c.newest != e {
		c.unlink(e)
		c.link(e)
	}
}

func (c *Cache[K, V]) link(e *entry[K, V]) {
	e.newer, e.older = nil, c.newest
	if c.newest != nil {
		c.newest.newer = e
	} else {
		c.oldest = e
	}
	c.newest = e
}

func (c *Cache[K, V]) unlink(e *entry[K, V]) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}
