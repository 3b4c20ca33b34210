package btrfs

import "sync"

// cache keeps the values that were asked for lately, at most as many as it was made
// for. It may be used by many goroutines at once.
type cache[V any] struct {
	shards [cacheShards]cacheShard[V]
}

const cacheShards = 8

// cacheShard gives values a second chance: the hand passes over one that was used
// since it came by last.
type cacheShard[V any] struct {
	mu    sync.Mutex
	limit int
	index map[uint64]int
	slots []cacheSlot[V]
	hand  int
}

type cacheSlot[V any] struct {
	key   uint64
	value V
	used  bool
}

func newCache[V any](limit int) *cache[V] {
	c := &cache[V]{}
	for i := range c.shards {
		c.shards[i].limit = max(1, limit/cacheShards)
		c.shards[i].index = map[uint64]int{}
	}
	return c
}

func (c *cache[V]) shard(key uint64) *cacheShard[V] {
	return &c.shards[key*0x9e3779b97f4a7c15>>61]
}

func (c *cache[V]) get(key uint64) (value V, ok bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[key]
	if !ok {
		return value, false
	}
	s.slots[i].used = true
	return s.slots[i].value, true
}

func (c *cache[V]) put(key uint64, value V) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[key]; ok {
		s.slots[i].value = value
		return
	}
	if len(s.slots) < s.limit {
		s.index[key] = len(s.slots)
		s.slots = append(s.slots, cacheSlot[V]{key: key, value: value})
		return
	}
	for s.slots[s.hand].used {
		s.slots[s.hand].used = false
		s.hand = (s.hand + 1) % len(s.slots)
	}
	delete(s.index, s.slots[s.hand].key)
	s.index[key] = s.hand
	s.slots[s.hand] = cacheSlot[V]{key: key, value: value}
	s.hand = (s.hand + 1) % len(s.slots)
}
