package ext

import (
	"hash/maphash"
	"sync"
)

// cache is a small map of bounded size: what is in it was used more recently than what
// is not, in about that order. It is safe for many goroutines.
type cache[K comparable, V any] struct {
	seed maphash.Seed
	sets []cacheSet[K, V]
}

// ways is how many entries share a lock, and compete for their places.
const ways = 8

type cacheSet[K comparable, V any] struct {
	mu   sync.Mutex
	now  uint64
	keys [ways]K
	vals [ways]V
	used [ways]uint64 // when; 0 for an empty place
}

// newCache returns a cache of at least size entries, in whole sets.
func newCache[K comparable, V any](size int) *cache[K, V] {
	return &cache[K, V]{seed: maphash.MakeSeed(), sets: make([]cacheSet[K, V], (size+ways-1)/ways)}
}

func (c *cache[K, V]) set(key K) *cacheSet[K, V] {
	return &c.sets[maphash.Comparable(c.seed, key)%uint64(len(c.sets))]
}

func (c *cache[K, V]) get(key K) (V, bool) {
	s := c.set(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.keys {
		if s.used[i] != 0 && s.keys[i] == key {
			s.now++
			s.used[i] = s.now
			return s.vals[i], true
		}
	}
	var none V
	return none, false
}

func (c *cache[K, V]) put(key K, val V) {
	s := c.set(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	place := 0
	for i := range s.keys {
		if s.used[i] != 0 && s.keys[i] == key {
			place = i
			break
		}
		if s.used[i] < s.used[place] {
			place = i
		}
	}
	s.now++
	s.keys[place], s.vals[place], s.used[place] = key, val, s.now
}
