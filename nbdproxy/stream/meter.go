package stream

import "sync/atomic"

// Meter counts the changed bytes of one disk while it is sent or applied. It is
// safe for concurrent use.
type Meter struct {
	Done  atomic.Int64 // bytes of extents handled so far
	Total atomic.Int64 // bytes of extents in all; 0 while unknown
}
