package service

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"vmsync/internal/event"
)

// feed takes the events of a run: it logs a line for each phase, keeps how far the run is,
// and passes everything on to those who follow it. Its methods may be called from several
// goroutines.
type feed struct {
	log *slog.Logger

	mu       sync.Mutex
	phase    event.Phase
	progress map[string]event.Progress // of the phase, by disk
	follow   []*stream
}

func newFeed(log *slog.Logger, follow []*stream) *feed {
	return &feed{log: log, progress: map[string]event.Progress{}, follow: follow}
}

// Emit implements [event.Sink].
func (f *feed) Emit(e event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e := e.(type) {
	case event.PhaseStarted:
		f.phase = e.Phase
		clear(f.progress)
	case event.PhaseFinished:
		f.log.Info(string(e.Phase)+" done", attrs("took", e.Duration.Round(time.Millisecond), "detail", e.Detail)...)
	case event.Notice:
		f.log.Info(e.Message)
	case event.Warning:
		f.log.Warn(e.Message, attrs("DISK", e.Disk)...)
	case event.Progress:
		f.progress[e.Disk] = e
	}
	for _, s := range f.follow {
		s.Emit(e)
	}
}

// attrs leaves out what is empty.
func attrs(pairs ...any) []any {
	var some []any
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			some = append(some, pairs[i], pairs[i+1])
		}
	}
	return some
}

// close ends the streams of those who follow, with a last event.
func (f *feed) close(last event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.follow {
		s.Emit(last)
		s.end()
	}
	f.follow = nil
}

// far tells how far the run is; total is 0 while that is not known of every disk.
func (f *feed) far() (phase event.Phase, done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := true
	for _, p := range slices.Collect(maps.Values(f.progress)) {
		done += p.Done
		total += p.Total
		known = known && p.Total > 0
	}
	if !known {
		total = 0
	}
	return f.phase, done, total
}
