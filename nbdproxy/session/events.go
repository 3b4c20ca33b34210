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
// called, which waits for the last report.
func (e *emitter) progress(names []string, meters []*stream.Meter, wire func() int64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		last := make([][2]int64, len(names))
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for i, m := range meters {
				now := [2]int64{m.Done.Load(), m.Total.Load()}
				if now == last[i] {
					continue
				}
				last[i] = now
				// An agent that no longer reads is found out by the final event.
				_ = e.emit(spec.Event{Event: spec.EventProgress, Disk: names[i], Done: now[0], Total: now[1], Wire: wire()})
			}
		}
	}()
	return func() { close(done); <-ended }
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
		meters = append(meters, new(stream.Meter))
	}
	return names, meters
}
