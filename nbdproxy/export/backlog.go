package export

import (
	"context"
	"sync"

	"vmsync/nbdproxy/stream"
)

// Bounds of a backlog.
const (
	backlogFrames  = 4096     // which hold 4 GiB at most
	backlogExtents = 64 << 10 // of all frames
	// stripFrames is how many frames are taken from the back before others, which lie before
	// them: so a disk with heads reads forwards for a while.
	stripFrames = 32
)

// backlog holds frames that were found and not yet read, in the disk's order. Readers take
// them from its front or from its back.
//
// A disk has long stretches that compress and long ones that do not. Sent one after the
// other, now the link waits for the compressor and now the compressor for the link; sent side by
// side, both have something to do all the time.
type backlog struct {
	mu      sync.Mutex
	changed sync.Cond
	frames  [][]stream.Extent
	strip   [][]stream.Extent // taken off the back, to be handed out from its front
	extents int
	closed  bool
}

func newBacklog() *backlog {
	b := &backlog{}
	b.changed.L = &b.mu
	return b
}

// put appends a frame, and waits for room first.
func (b *backlog) put(ctx context.Context, f []stream.Extent) error {
	defer context.AfterFunc(ctx, b.wake)()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held() > 0 && (b.held() >= backlogFrames || b.extents+len(f) > backlogExtents) && ctx.Err() == nil {
		b.changed.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.frames = append(b.frames, f)
	b.extents += len(f)
	b.changed.Broadcast()
	return nil
}

// close says that no more frames will come.
func (b *backlog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
}

// take returns a frame, from the back if that is asked for, and waits until there is one; nil
// when there will be none.
func (b *backlog) take(ctx context.Context, back bool) ([]stream.Extent, error) {
	defer context.AfterFunc(ctx, b.wake)()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held() == 0 && !b.closed && ctx.Err() == nil {
		b.changed.Wait()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if b.held() == 0 {
		return nil, nil
	}
	from := &b.frames
	if back && len(b.strip) == 0 {
		b.cutStrip()
	}
	if len(b.strip) > 0 && (back || len(b.frames) == 0) {
		from = &b.strip
	}
	f := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	b.extents -= len(f)
	b.changed.Broadcast()
	return f, nil
}

// cutStrip takes the strip off the back: of few frames half, so that front and back do not
// get into each other's way.
func (b *backlog) cutStrip() {
	n := min(stripFrames, len(b.frames)/2)
	cut := len(b.frames) - n
	b.strip = append(b.strip, b.frames[cut:]...)
	clear(b.frames[cut:])
	b.frames = b.frames[:cut]
}

func (b *backlog) held() int { return len(b.frames) + len(b.strip) }

func (b *backlog) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed.Broadcast()
}
