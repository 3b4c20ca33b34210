package nbdproxy

import (
	"context"
	"errors"
	"testing"
)

func TestBlockStatusReportsEveryContext(t *testing.T) {
	m := newMemory(10 * page)
	m.WriteAt(pattern(page), 1*page)
	m.WriteAt(pattern(page), 4*page)
	m.Trim(context.Background(), 4*page, page)
	hole := StateHole | StateZero
	v := serveDisk(t, m)
	type entries []uint32 // length, flags, ...
	for _, test := range []struct {
		name              string
		flags             uint16
		offset            uint64
		length            uint32
		allocation, dirty entries
	}{
		{"whole disk", 0, 0, 10 * page, entries{page, hole, page, 0, 8 * page, hole}, entries{page, 0, page, 1, 2 * page, 0, page, 1, 5 * page, 0}},
		{"one page", 0, page, page, entries{page, 0}, entries{page, 1}},
		{"one byte", 0, 5*page - 1, 1, entries{1, hole}, entries{1, 1}},
		{"across", 0, 2*page - 10, 20, entries{10, 0, 10, hole}, entries{10, 1, 10, 0}},
		{"only one", cmdFlagReqOne, 0, 10 * page, entries{page, hole}, entries{page, 0}},
		{"only one, which is shorter than asked for", cmdFlagReqOne, page + 5, 10, entries{10, 0}, entries{10, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.transmit(t, true, baseAllocation, dirtyBitmap)
			c.request(test.flags, cmdBlockStatus, 3, test.offset, test.length)
			c.expectChunk(0, replyBlockStatus, 3, uint32(0), []uint32(test.allocation))
			c.expectChunk(replyFlagDone, replyBlockStatus, 3, uint32(1), []uint32(test.dirty))
			c.disconnect()
		})
	}
}

func TestBlockStatusOfBadRangesIsRefused(t *testing.T) {
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(page), BlockSizes: BlockSizes{Minimum: 512, Preferred: 4096, Maximum: 4096}}}})
	c := v.transmit(t, true, baseAllocation)
	for i, r := range []struct {
		flags  uint16
		offset uint64
		length uint32
	}{{0, 0, 0}, {0, page, 512}, {0, 1<<64 - 512, 1024}, {0, 1, 512}, {0, 0, 513}, {cmdFlagDF, 0, 512}} {
		c.request(r.flags, cmdBlockStatus, uint64(i), r.offset, r.length)
		c.expectError(uint64(i), nbdEINVAL, nil)
	}
	c.request(0, cmdBlockStatus, 9, 0, page) // longer than any payload
	c.expectChunk(replyFlagDone, replyBlockStatus, 9, uint32(0), uint32(page), uint32(3))
	c.disconnect()
}

// statusFunc is a disk with a block status of its own.
type statusFunc struct {
	*memory
	status func(entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error)
}

func (b statusFunc) BlockStatus(_ context.Context, _ string, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error) {
	return b.status(entries, offset, length, max)
}

func TestBlockStatusHoldsTheBackendToItsContract(t *testing.T) {
	for _, test := range []struct {
		name  string
		found []StatusEntry
		want  []uint32 // nil: an error
	}{
		{"neighbours alike", []StatusEntry{{512, 0}, {512, 0}, {512, 3}, {1024, 3}}, []uint32{1024, 0, 1536, 3}},
		{"less than asked for", []StatusEntry{{512, 3}}, []uint32{512, 3}},
		{"more than asked for", []StatusEntry{{512, 3}, {1 << 40, 0}}, []uint32{512, 3, 4096 - 512, 0}},
		{"entries behind what was asked for", []StatusEntry{{4096, 0}, {512, 3}}, []uint32{4096, 0}},
		{"nothing", nil, nil},
		{"an empty entry", []StatusEntry{{512, 0}, {0, 1}}, nil},
		{"a negative entry", []StatusEntry{{-512, 0}}, nil},
		{"an unaligned entry", []StatusEntry{{512, 0}, {100, 1}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := statusFunc{newMemory(page), func(entries []StatusEntry, _, _ int64, _ int) ([]StatusEntry, error) {
				return append(entries, test.found...), nil
			}}
			v := serve(t, Config{Exports: []Export{{Name: "x", Backend: b, BlockSizes: BlockSizes{Minimum: 512, Preferred: 512, Maximum: 4096}}}})
			c := v.transmit(t, true, baseAllocation)
			c.request(0, cmdBlockStatus, 1, 0, 4096)
			if test.want == nil {
				c.expectError(1, nbdEIO, nil)
			} else {
				c.expectChunk(replyFlagDone, replyBlockStatus, 1, uint32(0), test.want)
			}
			c.disconnect()
		})
	}
}

func TestBlockStatusWithMoreEntriesThanAskedForIsAnError(t *testing.T) {
	b := statusFunc{newMemory(page), func(entries []StatusEntry, _, _ int64, _ int) ([]StatusEntry, error) {
		return append(entries, StatusEntry{1, 0}, StatusEntry{1, 1}), nil
	}}
	c := serveDisk(t, b).transmit(t, true, baseAllocation)
	c.request(cmdFlagReqOne, cmdBlockStatus, 1, 0, 4096)
	c.expectError(1, nbdEIO, nil)
	c.disconnect()
}

func TestBlockStatusFailsForItsRequestOnly(t *testing.T) {
	calls := 0
	b := statusFunc{newMemory(page), func(entries []StatusEntry, _, length int64, _ int) ([]StatusEntry, error) {
		if calls++; calls == 2 { // of the second context
			return nil, errors.New("the map is gone")
		}
		return append(entries, StatusEntry{length, 0}), nil
	}}
	c := serveDisk(t, b).transmit(t, true, baseAllocation, dirtyBitmap)
	c.request(0, cmdBlockStatus, 1, 0, 4096)
	if m := c.expectError(1, nbdEIO, nil); m != "the map is gone" {
		t.Errorf("message %q", m)
	}
	c.request(0, cmdBlockStatus, 2, 0, 4096)
	c.expectChunk(0, replyBlockStatus, 2, uint32(0), uint32(4096), uint32(0))
	c.expectChunk(replyFlagDone, replyBlockStatus, 2, uint32(1), uint32(4096), uint32(0))
	c.disconnect()
}

// A block status never waits for memory that a connection is not sure of.
func TestBlockStatusFitsIntoTheGuarantee(t *testing.T) {
	for contexts := 1; contexts <= maxContexts; contexts++ {
		tr := transmission{agreement: agreement{export: &export{Export: Export{BlockSizes: BlockSizes{Minimum: 1}}}, contexts: make([]string, contexts)}}
		reply, scratch := tr.statusSize(request{Length: 1<<32 - 1})
		if got := bufferSize(reply) + int64(scratch); got > segment {
			t.Errorf("%d contexts take %d bytes", contexts, got)
		}
		if n := tr.statusEntries(request{Length: 1<<32 - 1}); n < 16 {
			t.Errorf("%d contexts have %d entries each", contexts, n)
		}
	}
}

func TestBlockStatusHasManyEntries(t *testing.T) {
	b := statusFunc{newMemory(1 << 30), func(entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error) {
		for i := range min(int64(max), length/4096) {
			entries = append(entries, StatusEntry{4096, uint32(i % 2)})
		}
		return entries, nil
	}}
	c := serveDisk(t, b).transmit(t, true, baseAllocation)
	c.request(0, cmdBlockStatus, 1, 0, 1<<30)
	if k := c.chunk(); len(k.payload) != 4+8*maxStatusEntries || k.flags != replyFlagDone {
		t.Errorf("chunk of %d bytes with flags %d", len(k.payload), k.flags)
	}
	c.disconnect()
}
