package replicator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stallLimit is how long a transfer may make no progress at all, on either end, before it
// is given up. An end that is dead is noticed much sooner; this is for one that lives and
// does nothing, as where a disk's storage hangs. At the lowest rate that can be asked for
// a frame takes half of it.
const stallLimit = 30 * time.Minute

// stall ends a transfer that does not get on. Its methods may be called from several
// goroutines.
type stall struct {
	limit time.Duration
	timer *time.Timer

	mu   sync.Mutex
	last map[end]map[string]Progress
}

// end is whose progress it is.
type end string

const (
	sourceSide end = "source"
	targetSide end = "target"
)

// watchStall gives a context that ends when nothing has got on for limit. stop is to be
// called.
func watchStall(ctx context.Context, domain string, limit time.Duration) (_ context.Context, s *stall, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s = &stall{limit: limit, last: map[end]map[string]Progress{sourceSide: {}, targetSide: {}}}
	s.timer = time.AfterFunc(limit, func() {
		cancel(&Error{Kind: KindStalled, Domain: domain, Op: "transfer",
			Hint: "see whether storage or qemu hangs on the source or the target; the next sync goes on with what has arrived",
			Err:  fmt.Errorf("nothing has moved for %s, although both ends answer", limit)})
	})
	return ctx, s, func() { s.timer.Stop(); cancel(nil) }
}

// over passes on what an end tells, and looks whether it has got on.
func (s *stall) over(of end, tell func(Progress)) func(Progress) {
	return func(p Progress) {
		s.mu.Lock()
		moved := s.last[of][p.Disk] != p
		s.last[of][p.Disk] = p
		s.mu.Unlock()
		// A timer that has fired is not started again.
		if moved && s.timer.Stop() {
			s.timer.Reset(s.limit)
		}
		tell(p)
	}
}
