package stream

import "sync/atomic"

// Meter counts the changed bytes of one disk while it is sent or applied. Its
// methods and counts are safe for concurrent use.
type Meter struct {
	Size int64 // of the disk, in bytes; does not change

	Scanned atomic.Int64 // bytes of the disk that were searched for changes
	Found   atomic.Int64 // bytes of changed extents that the search came across
	Total   atomic.Int64 // bytes of changed extents in all; 0 while unknown
	Done    atomic.Int64 // bytes of extents handled so far
	Zero    atomic.Int64 // those of Done that are zero extents
	Same    atomic.Int64 // those of Done that need not be sent, for the receiver has them
}

// Find tells of a changed extent. Extents are found in ascending order.
func (m *Meter) Find(e Extent) {
	m.Scanned.Store(e.End())
	m.Found.Add(e.Length)
}

// FoundAll tells that there are no more changed extents than were found.
func (m *Meter) FoundAll() {
	m.Scanned.Store(m.Size)
	m.Total.Store(m.Found.Load())
}

// Handle tells that extents of n bytes were sent or written.
func (m *Meter) Handle(kind Kind, n int64) {
	m.Done.Add(n)
	if kind == KindZero {
		m.Zero.Add(n)
	}
}

// Skip tells that n bytes of extents were compared and need not be sent.
func (m *Meter) Skip(n int64) {
	m.Done.Add(n)
	m.Same.Add(n)
}
