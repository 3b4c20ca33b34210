package fat

import (
	"encoding/binary"
	"fmt"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/cache"
)

// A table is the file allocation table: for each cluster, the one that follows it.
type table struct {
	dev    device.Device
	layout layout
	pages  *cache.Cache[int64, []byte]
}

const (
	// tablePage is what is read of a table at once: a multiple of 3, so that no entry of 12 bits
	// is on two pages, and of 4.
	tablePage     = 12 << 10
	maxTablePages = 96
)

func openTable(d device.Device, l layout) (*table, error) {
	t := &table{dev: d, layout: l, pages: cache.New[int64, []byte](maxTablePages)}
	if l.bits == 32 && !l.valid(l.rootCluster) {
		return nil, fmt.Errorf("the root directory begins at cluster %d of %d: %w",
			l.rootCluster, l.clusters, filesystem.ErrCorrupt)
	}
	return t, nil
}

// A cursor remembers the page of the table that a walk along a chain is on.
type cursor struct {
	page []byte
	at   int64
}

// entry returns what the table says of a cluster, or of the entries 0 and 1.
func (t *table) entry(cluster uint32, c *cursor) (uint32, error) {
	at := int64(cluster) * int64(t.layout.bits) / 8
	if start := at / tablePage * tablePage; c.page == nil || c.at != start {
		page, err := t.page(start)
		if err != nil {
			return 0, err
		}
		c.page, c.at = page, start
	}
	b := c.page[at-c.at:]
	if len(b) < (t.layout.bits+7)/8 {
		return 0, fmt.Errorf("the table ends before cluster %d: %w", cluster, filesystem.ErrCorrupt)
	}
	switch t.layout.bits {
	case 12:
		pair := uint32(binary.LittleEndian.Uint16(b))
		if cluster%2 == 1 {
			return pair >> 4, nil
		}
		return pair & 0xfff, nil
	case 16:
		return uint32(binary.LittleEndian.Uint16(b)), nil
	default:
		return binary.LittleEndian.Uint32(b) & 0x0fffffff, nil
	}
}

func (t *table) page(start int64) ([]byte, error) {
	if page, found := t.pages.Get(start); found {
		return page, nil
	}
	page := make([]byte, min(tablePage, t.layout.tableSize-start))
	if err := readFull(t.dev, page, t.layout.table+start); err != nil {
		return nil, fmt.Errorf("reading the table: %w", err)
	}
	t.pages.Put(start, page, 1)
	return page, nil
}

// next returns the cluster that follows a valid one, or end.
func (t *table) next(cluster uint32, c *cursor) (next uint32, end bool, err error) {
	next, err = t.entry(cluster, c)
	if err != nil {
		return 0, false, err
	}
	if next >= t.lastMark() {
		return 0, true, nil
	}
	if !t.layout.valid(next) {
		return 0, false, fmt.Errorf("cluster %d is followed by %d of %d: %w",
			cluster, next, t.layout.clusters, filesystem.ErrCorrupt)
	}
	return next, false, nil
}

// lastMark is the least value that ends a chain.
func (t *table) lastMark() uint32 {
	switch t.layout.bits {
	case 12:
		return 0xff8
	case 16:
		return 0xfff8
	default:
		return 0x0ffffff8
	}
}
