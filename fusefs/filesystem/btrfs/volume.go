package btrfs

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Bounds of what is kept of the chunk tree: 64 TiB of ordinary chunks.
const (
	maxChunks  = 1 << 16
	maxStripes = 1 << 18
)

// member is one device of a filesystem.
type member struct {
	dev    device.Device
	super  *superblock
	behind bool // another member has seen more transactions
}

// rank orders the copies of a chunk: the lowest is read first.
func (m *member) rank() int {
	switch {
	case m == nil:
		return 2
	case m.behind:
		return 1
	}
	return 0
}

// volume maps logical addresses to the devices.
type volume struct {
	members map[uint64]*member
	devices uint64 // how many there should be
	chunks  []chunk
	stripes int
}

// add puts a chunk in its place.
func (v *volume) add(c chunk) error {
	i := sort.Search(len(v.chunks), func(i int) bool { return v.chunks[i].start >= c.start })
	if i < len(v.chunks) && v.chunks[i].start == c.start {
		return nil // a system chunk, known from the superblock
	}
	if i < len(v.chunks) && c.start+c.length > v.chunks[i].start ||
		i > 0 && v.chunks[i-1].start+v.chunks[i-1].length > c.start {
		return corrupt("chunk %d overlaps another one", c.start)
	}
	v.stripes += len(c.stripes)
	if len(v.chunks) == maxChunks || v.stripes > maxStripes {
		return unsupported("more than %d chunks or %d stripes", maxChunks, maxStripes)
	}
	c.attach(v.members)
	v.chunks = slices.Insert(v.chunks, i, c)
	return nil
}

// addSystem adds the chunks of the superblock's array, in which the chunk tree lies.
func (v *volume) addSystem(b []byte) error {
	for len(b) > 0 {
		if len(b) < keySize {
			return corrupt("superblock: the array of system chunks ends within a key")
		}
		k := parseKey(b)
		if k.kind != kindChunk {
			return corrupt("superblock: item %v among the system chunks", k)
		}
		c, size, err := parseChunk(k.offset, b[keySize:])
		if err != nil {
			return err
		}
		if err := v.add(c); err != nil {
			return err
		}
		b = b[keySize+size:]
	}
	return nil
}

func (v *volume) find(logical uint64) (*chunk, error) {
	i := sort.Search(len(v.chunks), func(i int) bool { return v.chunks[i].start > logical }) - 1
	if i < 0 || logical-v.chunks[i].start >= v.chunks[i].length {
		return nil, corrupt("no chunk has address %d", logical)
	}
	return &v.chunks[i], nil
}

// copies returns how many copies there are of what lies at a logical address.
func (v *volume) copies(logical uint64) int {
	c, err := v.find(logical)
	if err != nil {
		return 1
	}
	return c.copies
}

// read fills p from a logical address on with the bytes of one copy, which counts from 0.
func (v *volume) read(p []byte, logical uint64, copy int) error {
	for len(p) > 0 {
		c, err := v.find(logical)
		if err != nil {
			return err
		}
		stripes, at, run := c.locate(logical - c.start)
		s := stripes[copy%len(stripes)]
		if s.on == nil {
			return v.missing(s.device)
		}
		n := min(run, uint64(len(p)))
		if _, err := s.on.dev.ReadAt(p[:n], int64(s.offset+at)); errors.Is(err, io.EOF) {
			return corrupt("address %d, device %d at %d: behind its end", logical, s.device, s.offset+at)
		} else if err != nil {
			return fmt.Errorf("address %d, device %d at %d: %w", logical, s.device, s.offset+at, err)
		}
		p, logical = p[n:], logical+n
	}
	return nil
}

func (v *volume) missing(device uint64) error {
	return fmt.Errorf("device %d is missing (needs %d devices, %d given): %w",
		device, v.devices, len(v.members), filesystem.ErrUnsupported)
}
