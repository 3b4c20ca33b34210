package export

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"vmsync/nbdproxy/stream"
)

// numbered is a frame of n extents that is known by its first offset.
func numbered(i, n int) []stream.Extent {
	f := make([]stream.Extent, n)
	for j := range f {
		f[j] = stream.Extent{Offset: int64(i), Length: 1}
	}
	return f
}

func filled(t *testing.T, frames int) *backlog {
	t.Helper()
	b := newBacklog()
	for i := range frames {
		if err := b.put(t.Context(), numbered(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	b.close()
	return b
}

// drain takes all that is left; backs says of each take where from, and is repeated.
func drain(t *testing.T, b *backlog, backs ...bool) (order []int64) {
	t.Helper()
	for i := 0; ; i++ {
		f, err := b.take(t.Context(), backs[i%len(backs)])
		if err != nil {
			t.Fatal(err)
		}
		if f == nil {
			return order
		}
		order = append(order, f[0].Offset)
	}
}

func TestBacklogFromTheFront(t *testing.T) {
	got := drain(t, filled(t, 200), false)
	if len(got) != 200 || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
}

func TestBacklogFromBothEnds(t *testing.T) {
	for _, backs := range [][]bool{{true}, {false, true}, {true, true, false}} {
		got := drain(t, filled(t, 200), backs...)
		if got[0] != 0 && got[0] != 200-stripFrames {
			t.Errorf("%v: first comes %d", backs, got[0])
		}
		if i := slices.Index(got, 200-stripFrames); got[i+len(backs)] < got[i] && len(backs) == 1 {
			t.Errorf("a strip is not read forwards: %v", got)
		}
		slices.Sort(got)
		for i, offset := range got {
			if int64(i) != offset || len(got) != 200 {
				t.Fatalf("%v: %d frames, some twice or not at all: %v", backs, len(got), got)
			}
		}
	}
	if got := drain(t, filled(t, 1), true); !slices.Equal(got, []int64{0}) {
		t.Errorf("one frame, from the back: %v", got)
	}
}

func TestBacklogIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ extents, want int }{
		"frames":  {1, backlogFrames},
		"extents": {backlogExtents / 4, 4},
	} {
		b := newBacklog()
		for i := range c.want {
			if err := b.put(t.Context(), numbered(i, c.extents)); err != nil {
				t.Fatal(err)
			}
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, enough)
		if err := b.put(ctx, numbered(c.want, c.extents)); err != enough {
			t.Errorf("%s: one more than %d: %v", name, c.want, err)
		}
		cancel()
	}
	// One that is longer than the bound goes in alone.
	if err := newBacklog().put(t.Context(), numbered(0, backlogExtents+1)); err != nil {
		t.Error(err)
	}
}

func TestBacklogEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	b := newBacklog()
	var wg sync.WaitGroup
	why := errors.New("why")
	wg.Go(func() {
		if _, err := b.take(ctx, true); err != why {
			t.Errorf("take: %v", err)
		}
	})
	cancel(why)
	wg.Wait()
}

func TestBacklogBetweenManyGoroutines(t *testing.T) {
	const frames = 20_000 // several times what it holds
	b := newBacklog()
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for {
				f, err := b.take(t.Context(), i%2 == 0)
				if f == nil || err != nil {
					return
				}
				mu.Lock()
				if seen[f[0].Offset] {
					t.Errorf("frame %d came twice", f[0].Offset)
				}
				seen[f[0].Offset] = true
				mu.Unlock()
			}
		})
	}
	for i := range frames {
		if err := b.put(t.Context(), numbered(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	b.close()
	wg.Wait()
	if len(seen) != frames {
		t.Errorf("%d of %d frames came", len(seen), frames)
	}
}
