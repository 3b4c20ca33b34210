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
	pace     pace                      // of the phase, all disks together
	sent     int64
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
		f.pace = pace{}
	case event.PhaseFinished:
		f.log.Info(string(e.Phase)+" done", attrs("took", e.Duration.Round(time.Millisecond), "detail", e.Detail)...)
	case event.Notice:
		f.log.Info(e.Message)
	case event.Warning:
		f.log.Warn(e.Message, attrs("DISK", e.Disk)...)
	case event.Progress:
		f.progress[e.Disk] = e
		f.sent = e.Traffic.Bytes
		f.pace.observe(time.Now(), f.done())
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

// done is how many bytes of all disks the phase has done.
func (f *feed) done() (sum int64) {
	for _, p := range f.progress {
		sum += p.Done
	}
	return sum
}

// fast tells how many bytes of the disks the phase does in a second now, and how many bytes
// of the stream the run has sent.
func (f *feed) fast(now time.Time) (perSecond float64, sent int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pace.perSecond(now), f.sent
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
