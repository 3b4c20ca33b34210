package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"vmsync/internal/api"
)

// lines runs Lines and returns what it prints, line by line.
func lines(t *testing.T, f *fleet, asJSON bool) (*bufio.Reader, chan string, context.CancelFunc, chan error) {
	t.Helper()
	r, w := io.Pipe()
	logged, ended := make(chan string, 10), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		ended <- Lines(ctx, f, "", asJSON, w, func(s string) { logged <- s })
	}()
	t.Cleanup(func() { stop(); r.Close() })
	return bufio.NewReader(r), logged, stop, ended
}

func read(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func TestEventsAsLinesOverARestart(t *testing.T) {
	f := &fleet{more: make(chan api.Event), past: []api.Event{{Event: api.EventReloaded, Time: ago(time.Hour)}}}
	r, logged, stop, ended := lines(t, f, false)
	first := api.Event{Event: api.EventPaused, ID: "1", Time: noon, Source: "ho\x1bsta", Machine: "vm1", Reason: "x"}
	f.more <- first
	if got := read(t, r); got != `2026-11-22T12:00:00Z ho\x1bsta/vm1 is paused: x` {
		t.Error(got)
	}
	// What came while the connection was broken is told, what was told before is not.
	f.set(func() {
		f.past = append(f.past, first, api.Event{Event: api.EventSourceLost, ID: "2", Time: noon.Add(-time.Second), Source: "hostb"}) // somebody has set the clock
		f.cut()
	})
	if got := read(t, r); got != "2026-11-22T11:59:59Z hostb does not answer" {
		t.Error(got)
	}
	if got := <-logged; got != context.Canceled.Error() {
		t.Error(got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEventsAsJSON(t *testing.T) {
	f := &fleet{more: make(chan api.Event)}
	r, _, _, ended := lines(t, f, true)
	f.more <- api.Event{Event: api.EventMissed, Time: noon, Missed: 3}
	var e api.Event
	if err := json.Unmarshal([]byte(read(t, r)), &e); err != nil || e.Missed != 3 || e.Event != api.EventMissed {
		t.Errorf("%+v, %v", e, err)
	}
	_ = ended
}

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestLinesEndWhereNobodyReads(t *testing.T) {
	f := &fleet{more: make(chan api.Event, 1)}
	f.more <- api.Event{Event: api.EventReloaded, Time: noon}
	if err := Lines(t.Context(), f, "", false, full{}, func(string) {}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("%v", err)
	}
}
