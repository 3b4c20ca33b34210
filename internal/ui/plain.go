package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"vmsync/internal/event"
)

// plainEvery is the least time between two lines of progress of one disk.
const plainEvery = 10 * time.Second

// plainOutput writes lines.
type plainOutput struct {
	options Options

	mu     sync.Mutex
	last   map[string]time.Time // last progress line by disk
	rates  map[string]*rate
	closed bool
	err    error
}

func (p *plainOutput) Emit(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case event.PhaseStarted:
		clear(p.last)
		clear(p.rates)
		if p.options.Verbose {
			p.line(p.options.Out, clean(string(e.Phase))+" …")
		}
	case event.PhaseFinished:
		p.line(p.options.Out, phaseText(e))
	case event.Notice:
		p.line(p.options.Out, clean(e.Message))
	case event.Warning:
		p.line(p.options.Err, warningText(e))
	case event.Progress:
		p.progress(e)
	case event.Summary:
		p.line(p.options.Out, summaryText(e, p.options.Verbose)...)
	case event.Error:
		p.line(p.options.Err, errorText(e))
	default:
		p.line(p.options.Out, stateText(e)...)
	}
}

func (p *plainOutput) progress(e event.Progress) {
	if p.options.Progress == ProgressNone {
		return
	}
	now := p.options.now()
	r := p.rates[e.Disk]
	if r == nil {
		// The first line comes after the interval, too: short transfers need none.
		r = &rate{}
		p.rates[e.Disk], p.last[e.Disk] = r, now
	}
	r.observe(now, e.Done)
	if now.Sub(p.last[e.Disk]) < plainEvery {
		return
	}
	p.last[e.Disk] = now
	s := fmt.Sprintf("  %s: %s", clean(e.Disk), bytesText(e.Done))
	if e.Total > 0 {
		s += fmt.Sprintf(" of %s (%d%%)", bytesText(e.Total), percent(e.Done, e.Total))
	} else if e.Size > 0 {
		s += fmt.Sprintf(", %d%% of the disk scanned", percent(e.Scanned, e.Size))
	}
	if perSecond := r.perSecond(); perSecond > 0 {
		s += fmt.Sprintf(", %s/s", bytesText(int64(perSecond)))
	}
	if left, ok := r.left(e.Total); ok {
		s += ", " + clockText(left) + " left"
	}
	p.line(p.options.Out, s)
}

// line writes lines with one Write, so that those of several programs in one log
// do not mix.
func (p *plainOutput) line(w io.Writer, lines ...string) {
	if p.closed || len(lines) == 0 {
		return
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *plainOutput) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.err
}
