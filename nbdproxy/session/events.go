package session

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// progressPeriod is the shortest time between two progress events of a disk.
const progressPeriod = 250 * time.Millisecond

// emitter writes events, one line each. It is safe for concurrent use.
type emitter struct {
	mu  sync.Mutex
	out io.Writer
}

func (e *emitter) emit(ev spec.Event) error {
	line, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("reporting to the agent: %w", err)
	}
	return nil
}

// progress reports disks whose meters moved, until the returned function is
// called, which reports the last that is to say and waits until that is done.
func (e *emitter) progress(names []string, meters []*stream.Meter, traffic func() spec.Traffic) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	last := make([]spec.Progress, len(meters))
	report := func() {
		for i, m := range meters {
			now := reading(names[i], m)
			if now == last[i] {
				continue
			}
			last[i] = now
			now.Traffic = traffic()
			// An agent that no longer reads is found out by the final event.
			_ = e.emit(spec.Event{Event: spec.EventProgress, Progress: &now})
		}
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		for {
			select {
			case <-done:
				report()
				return
			case <-tick.C:
				report()
			}
		}
	}()
	return func() { close(done); <-ended }
}

// reading is what a meter says now. What is counted last is read first, so that no
// part is larger than its whole.
func reading(disk string, m *stream.Meter) spec.Progress {
	p := spec.Progress{Disk: disk, Size: m.Size}
	p.Zero = m.Zero.Load()
	p.Same = m.Same.Load()
	p.Done = m.Done.Load()
	p.Found = m.Found.Load()
	p.Scanned = m.Scanned.Load()
	p.Total = m.Total.Load()
	return p
}

// results pairs disks with their sums.
func results(disks []stream.Disk, sums []stream.DiskSum) []spec.DiskResult {
	r := make([]spec.DiskResult, len(disks))
	for i, s := range sums {
		r[i] = spec.DiskResult{
			Name: disks[i].Name, DataBytes: s.DataBytes, ZeroBytes: s.ZeroBytes,
			Digest: fmt.Sprintf("%016x", s.Digest),
		}
	}
	return r
}

// newMeters makes a meter for each disk, and lists their names.
func newMeters(disks []stream.Disk) (names []string, meters []*stream.Meter) {
	for _, d := range disks {
		names = append(names, d.Name)
		meters = append(meters, &stream.Meter{Size: d.Size})
	}
	return names, meters
}
