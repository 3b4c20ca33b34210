// Package cache keeps the most recently used values up to a bound. It must never hold
// more than its bound, because what fills it comes from a guest.
package cache

import (
	"container/list"
	"sync"
)

// A Cache maps keys to values and forgets the least recently used ones. Its methods may
// be called by many goroutines at once; values are shared and must not be changed.
type Cache[K comparable, V any] struct {
	mu     sync.Mutex
	bound  int
	weight int
	order  *list.List // of *item[K, V], the most recently used one first
	items  map[K]*list.Element
}

type item[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

// New returns a cache whose values' weights add up to bound at most.
func New[K comparable, V any](bound int) *Cache[K, V] {
	return &Cache[K, V]{bound: bound, order: list.New(), items: map[K]*list.Element{}}
}

// Get returns the value under a key.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, found := c.items[key]
	if !found {
		var none V
		return none, false
	}
	c.order.MoveToFront(element)
	return element.Value.(*item[K, V]).value, true
}

// Put keeps a value of the given weight. A value heavier than the bound is not kept.
func (c *Cache[K, V]) Put(key K, value V, weight int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, found := c.items[key]; found {
		c.remove(element)
	}
	if weight > c.bound {
		return
	}
	for c.weight+weight > c.bound {
		c.remove(c.order.Back())
	}
	c.items[key] = c.order.PushFront(&item[K, V]{key, value, weight})
	c.weight += weight
}

func (c *Cache[K, V]) remove(element *list.Element) {
	gone := c.order.Remove(element).(*item[K, V])
	delete(c.items, gone.key)
	c.weight -= gone.weight
}
