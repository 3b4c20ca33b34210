// Package ui shows the events of one run to a person or a program: with live bars
// on a terminal, as plain lines in a log, or as JSON lines.
//
// Everything that comes with an event may come from another host; what a terminal
// would take for a command is replaced before it is shown. The package must never
// decide anything about a run.
package ui

import (
	"fmt"
	"io"
	"time"

	"vmsync/internal/event"
)

// Progress says how progress is shown.
type Progress string

// The values of --progress.
const (
	ProgressAuto  Progress = "auto"  // bars on a terminal, else lines
	ProgressPlain Progress = "plain" // lines, at most every 10 s for each disk
	ProgressNone  Progress = "none"  // no progress; phases, warnings and the summary only
)

// ParseProgress reads a value of --progress.
func ParseProgress(s string) (Progress, error) {
	switch p := Progress(s); p {
	case ProgressAuto, ProgressPlain, ProgressNone:
		return p, nil
	}
	return "", fmt.Errorf("--progress=%s: want auto, plain or none", s)
}

// Options choose how a run is shown.
type Options struct {
	JSON       bool      // one JSON object per line on Out; Progress other than none shows all of it
	Progress   Progress  // ProgressAuto when empty
	IsTerminal bool      // Out is a terminal
	Verbose    bool      // also tell when phases begin, and about each disk in the end
	Out        io.Writer // everything but errors and warnings
	Err        io.Writer // errors and warnings; Out when nil; unused with JSON

	now func() time.Time // instead of time.Now, in tests
}

// Output shows a run. Its Close must be called; it leaves the terminal with a
// complete last line, and returns the first error in writing. Events emitted after
// Close are not shown.
type Output interface {
	event.Sink
	io.Closer
}

// New returns the output that the options ask for.
func New(o Options) Output {
	if o.now == nil {
		o.now = time.Now
	}
	if o.Err == nil {
		o.Err = o.Out
	}
	if o.Progress == "" {
		o.Progress = ProgressAuto
	}
	switch {
	case o.JSON:
		return &jsonOutput{options: o}
	case o.Progress == ProgressAuto && o.IsTerminal:
		return newTerminal(o)
	}
	return &plainOutput{options: o, last: map[string]time.Time{}, rates: map[string]*rate{}}
}
