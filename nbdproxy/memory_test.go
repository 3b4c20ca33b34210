package nbdproxy

import (
	"context"
	"slices"
	"sync"
)

const page = 64 << 10

// memory is a sparse disk in memory with everything that a backend can have. Its
// dirty bitmap holds the pages written, trimmed or zeroed since it was made.
type memory struct {
	size int64

	mu    sync.RWMutex
	pages map[int64]*[page]byte // those that are allocated
	dirty map[int64]bool
	calls calls
}

// calls counts what a backend was asked for.
type calls struct {
	reads, writes, syncs, trims, zeroes, caches, statuses int
	readBytes                                             int64
	mayUnmap, fast                                        bool // of the last WriteZeroes
}

const dirtyBitmap = "qemu:dirty-bitmap:since"

func newMemory(size int64) *memory {
	return &memory{size: size, pages: map[int64]*[page]byte{}, dirty: map[int64]bool{}}
}

func (m *memory) Size() (int64, error) { return m.size, nil }

// counted returns a copy of the counters.
func (m *memory) counted() calls {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// each calls f with the page number and the part of the page for each page that a range touches.
func each(offset, length int64, f func(number, from, to int64)) {
	for at := offset; at < offset+length; {
		from := at % page
		to := min(page, from+offset+length-at)
		f(at/page, from, to)
		at += to - from
	}
}

func (m *memory) ReadAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	m.calls.reads++
	m.calls.readBytes += int64(len(p))
	m.mu.Unlock()
	m.mu.RLock()
	defer m.mu.RUnlock()
	rest := p
	each(offset, int64(len(p)), func(number, from, to int64) {
		if pg := m.pages[number]; pg != nil {
			copy(rest, pg[from:to])
		} else {
			clear(rest[:to-from])
		}
		rest = rest[to-from:]
	})
	return len(p), nil
}

func (m *memory) WriteAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.writes++
	rest := p
	each(offset, int64(len(p)), func(number, from, to int64) {
		if m.pages[number] == nil {
			m.pages[number] = new([page]byte)
		}
		m.dirty[number] = true
		copy(m.pages[number][from:to], rest)
		rest = rest[to-from:]
	})
	return len(p), nil
}

func (m *memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.syncs++
	return nil
}

func (m *memory) WriteZeroes(_ context.Context, offset, length int64, mayUnmap, fast bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.zeroes++
	m.calls.mayUnmap, m.calls.fast = mayUnmap, fast
	m.zero(offset, length, mayUnmap)
	return nil
}

func (m *memory) Trim(_ context.Context, offset, length int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.trims++
	m.zero(offset, length, true)
	return nil
}

func (m *memory) zero(offset, length int64, unmap bool) {
	each(offset, length, func(number, from, to int64) {
		m.dirty[number] = true
		switch pg := m.pages[number]; {
		case pg != nil && unmap && to-from == page:
			delete(m.pages, number)
		case pg != nil:
			clear(pg[from:to])
		case !unmap:
			m.pages[number] = new([page]byte)
		}
	})
}

func (m *memory) Cache(context.Context, int64, int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.caches++
	return nil
}

func (m *memory) Contexts() []string { return []string{"base:allocation", dirtyBitmap} }

func (m *memory) BlockStatus(_ context.Context, metaContext string, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error) {
	m.mu.Lock()
	m.calls.statuses++
	m.mu.Unlock()
	m.mu.RLock()
	defer m.mu.RUnlock()
	full := false
	each(offset, length, func(number, from, to int64) {
		var flags uint32
		switch {
		case metaContext == dirtyBitmap && m.dirty[number]:
			flags = 1
		case metaContext == "base:allocation" && m.pages[number] == nil:
			flags = StateHole | StateZero
		}
		n := len(entries)
		switch {
		case full:
		case n > 0 && entries[n-1].Flags == flags:
			entries[n-1].Length += to - from
		case n < max:
			entries = append(entries, StatusEntry{Length: to - from, Flags: flags})
		default:
			full = true
		}
	})
	return entries, nil
}

// content returns all of the disk's bytes.
func (m *memory) content() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := make([]byte, m.size)
	for number, pg := range m.pages {
		copy(b[number*page:], pg[:])
	}
	return slices.Clip(b)
}
