package ui

import (
	"io"
	"strings"
	"sync"

	"vmsync/internal/event"
)

// terminal shows a phase while it runs, with a bar for each disk, and leaves one
// line for it when it has ended.
type terminal struct {
	options Options

	mu     sync.Mutex // held throughout Emit and Close: events are shown one at a time
	live   *live      // rows of the phase that runs; nil between phases
	closed bool
	err    error
}

func newTerminal(o Options) *terminal { return &terminal{options: o} }

func (t *terminal) Emit(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	switch e := e.(type) {
	case event.PhaseStarted:
		t.endLive()
		t.live = startLive(t.options, clean(string(e.Phase)))
	case event.PhaseFinished:
		t.endLive()
		t.print(t.options.Out, "✓ "+phaseText(e))
	case event.Notice:
		t.above(t.options.Out, "  "+clean(e.Message))
	case event.Warning:
		t.above(t.options.Err, warningText(e))
	case event.Progress:
		if t.live == nil {
			t.live = startLive(t.options, string(event.PhaseTransfer))
		}
		t.live.progress(e)
	case event.Summary:
		t.endLive()
		t.print(t.options.Out, summaryText(e, t.options.Verbose)...)
	case event.Skipped:
		t.endLive()
		t.print(t.options.Out, skippedText(e))
	case event.Error:
		t.failLive()
		t.print(t.options.Err, errorText(e))
	default:
		for _, line := range stateText(e) {
			t.above(t.options.Out, line)
		}
	}
}

// above prints a line while a phase runs. Where the rows are on another file than
// the line, they make way for it and come back with the next refresh.
func (t *terminal) above(w io.Writer, line string) {
	if t.live != nil && w == t.options.Out {
		t.live.print(line)
		return
	}
	if t.live == nil {
		t.print(w, line)
		return
	}
	t.live.end()
	t.print(w, line)
	t.live.open()
}

func (t *terminal) endLive() {
	if t.live != nil {
		t.live.end()
		t.live = nil
	}
}

// failLive leaves a line for the phase that did not end well.
func (t *terminal) failLive() {
	if t.live != nil {
		phase := t.live.phase
		t.endLive()
		t.print(t.options.Out, "✗ "+phase)
	}
}

func (t *terminal) print(w io.Writer, lines ...string) {
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *terminal) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLive()
	t.closed = true
	return t.err
}
