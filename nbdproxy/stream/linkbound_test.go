package stream

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"vmsync/nbdproxy/spec"
)

// waiting is a connection that has waited for so long.
type waiting struct {
	io.Writer
	stalled atomic.Int64
}

func (w *waiting) Stalled() time.Duration { return time.Duration(w.stalled.Load()) }

func TestEncoderTellsWhenTheLinkHoldsItUp(t *testing.T) {
	w := &waiting{Writer: io.Discard}
	c, err := newCompressor(spec.Compression{Mode: spec.ModeAuto}, []io.Writer{w})
	if err != nil {
		t.Fatal(err)
	}
	e := &Encoder{comp: c}
	// window lets one pass of which a part was spent waiting. It is long, so that a pause
	// of this machine does not count.
	window := func(part float64) {
		const length = time.Minute
		c.began = time.Now().Add(-length)
		w.stalled.Add(int64(part * float64(length)))
		c.sent(packed{bytes: make([]byte, windowBytes)}, windowBytes)
	}
	for _, step := range []struct {
		part float64
		want bool
	}{{0, false}, {0.9, true}, {0.4, true}, {0.1, false}, {0.4, false}} {
		window(step.part)
		if e.LinkBound() != step.want {
			t.Errorf("after %.0f %% of waiting: link bound is %v", step.part*100, !step.want)
		}
	}
}
