package btrfs

import (
	"fmt"
	"slices"
	"sort"

	"vmsync/fusefs/filesystem"
)

// Bounds of what is kept of all logs. They hold what was fsynced within one transaction
// (30 seconds, by default), without the contents of files.
const (
	maxChanges     = 1 << 16
	maxChangeBytes = 8 << 20
	maxReplaySteps = 1 << 26 // of comparing names, some nanoseconds each
)

// changeBudget counts what the logs of a filesystem take.
type changeBudget struct{ items, bytes, steps int }

func (b *changeBudget) step(steps int) error {
	if b.steps += steps; b.steps > maxReplaySteps {
		return fmt.Errorf("a log of too many names: %w", filesystem.ErrNeedsReplay)
	}
	return nil
}

func (b *changeBudget) take(items, bytes int) error {
	b.items, b.bytes = b.items+items, b.bytes+bytes
	if b.items > maxChanges || b.bytes > maxChangeBytes {
		return fmt.Errorf("a log of more than %d items or %d bytes: %w", maxChanges, maxChangeBytes, filesystem.ErrNeedsReplay)
	}
	return nil
}

// overlay holds the items by which a tree differs from what is on the device. It is
// changed while a log is replayed, by one goroutine, and never again after that.
type overlay struct {
	entries []overlayEntry // sorted by key
	budget  *changeBudget
}

type overlayEntry struct {
	key  key
	item []byte // nil: deleted
}

// search returns the first entry whose key is not below k.
func (o *overlay) search(k key) int {
	return sort.Search(len(o.entries), func(i int) bool { return o.entries[i].key.compare(k) >= 0 })
}

// get returns the item, nil where it was deleted, and whether it was changed at all.
func (o *overlay) get(k key) (item []byte, changed bool) {
	i := o.search(k)
	if i == len(o.entries) || o.entries[i].key != k {
		return nil, false
	}
	return o.entries[i].item, true
}

// floor returns the last key that is not above k, the zero key where there is none.
func (o *overlay) floor(k key) key {
	i := o.search(k)
	if i < len(o.entries) && o.entries[i].key == k {
		return k
	}
	if i == 0 {
		return key{}
	}
	return o.entries[i-1].key
}

// put sets an item, which the caller does not change any more; nil deletes it.
func (o *overlay) put(k key, item []byte) error {
	i := o.search(k)
	if i < len(o.entries) && o.entries[i].key == k {
		grown := len(item) - len(o.entries[i].item)
		o.entries[i].item = item
		return o.budget.take(0, grown)
	}
	o.entries = slices.Insert(o.entries, i, overlayEntry{k, item})
	return o.budget.take(1, len(item))
}
