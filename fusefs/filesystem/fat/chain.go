package fat

import (
	"fmt"
	"sync"

	"vmsync/fusefs/filesystem"
)

// maxMarks bounds what is remembered of one chain.
const maxMarks = 1024

// A chain is the clusters of a file in order. Finding the n-th means to follow the table
// from the first on; so the chain remembers every stride-th one that it came by, and the last.
// It may be used by many goroutines at once.
type chain struct {
	table *table

	mu     sync.Mutex
	cursor cursor
	stride int64
	marks  []uint32 // marks[i] is the cluster at i*stride
	index  int64    // where the walk is
	at     uint32   // and the cluster there

	// Brent's search for a cycle, over the longest walk so far.
	longest  int64
	tortoise uint32
	power    int64
	lap      int64
}

// newChain returns the chain that begins at first, which has to be valid.
func newChain(t *table, first uint32) *chain {
	return &chain{
		table: t, stride: 1, marks: []uint32{first}, at: first,
		tortoise: first, power: 1,
	}
}

// extent returns the cluster at an index of the chain and how many, up to most, follow each
// other on the device from there on.
func (c *chain) extent(index, most int64) (cluster uint32, count int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if index < c.index {
		mark := min(index/c.stride, int64(len(c.marks))-1)
		c.index, c.at = mark*c.stride, c.marks[mark]
	}
	for c.index < index {
		if err := c.step(); err != nil {
			return 0, 0, err
		}
	}
	cluster = c.at
	for count = 1; count < most; count++ {
		if err := c.step(); err != nil {
			return 0, 0, err
		}
		if c.at != cluster+uint32(count) {
			break
		}
	}
	return cluster, count, nil
}

func (c *chain) step() error {
	next, end, err := c.table.next(c.at, &c.cursor)
	if err != nil {
		return err
	}
	if end {
		return fmt.Errorf("a chain ends after %d clusters, before its file does: %w", c.index+1, filesystem.ErrCorrupt)
	}
	c.index, c.at = c.index+1, next
	if c.index == int64(len(c.marks))*c.stride {
		c.mark()
	}
	if c.index <= c.longest {
		return nil
	}
	c.longest = c.index
	if next == c.tortoise {
		return fmt.Errorf("a chain comes back to cluster %d: %w", next, filesystem.ErrCorrupt)
	}
	if c.lap++; c.lap == c.power {
		c.tortoise, c.power, c.lap = next, c.power*2, 0
	}
	return nil
}

// mark remembers where the walk is, at half the density once there are too many marks.
func (c *chain) mark() {
	c.marks = append(c.marks, c.at)
	if len(c.marks) < maxMarks {
		return
	}
	for i := range len(c.marks) / 2 {
		c.marks[i] = c.marks[2*i]
	}
	c.marks = c.marks[:len(c.marks)/2]
	c.stride *= 2
}
