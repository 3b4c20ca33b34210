package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
)

// clock is a time that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2026, 11, 21, 7, 3, 1, 5e6, time.UTC)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var traffic = event.Traffic{Bytes: 1288490189, Frames: 5000, Codecs: []event.CodecTraffic{
	{Codec: "none", Frames: 700, Raw: 700 << 20, Stored: 700 << 20},
	{Codec: "zstd", Frames: 3396, Raw: 3396 << 20, Stored: 528 << 20},
}}

var summary = event.Summary{
	Domain: "vm1", State: "2026-11-21T070301Z", Kind: event.KindMixed, Consistency: "filesystem",
	ChangedBytes: 5 << 30, ZeroBytes: 1 << 30, Duration: 42300 * time.Millisecond,
	Transport: event.TransportSSH, NotDirect: "connection refused",
	Traffic: traffic, Transfer: 25 * time.Second, Frozen: 41 * time.Millisecond,
	Disks: []event.DiskSummary{
		{Disk: "vda", Kind: event.KindIncremental, ChangedBytes: 1 << 30, ZeroBytes: 0},
		{Disk: "vdb", Kind: event.KindFull, ChangedBytes: 4 << 30, ZeroBytes: 1 << 30},
	},
}

// replay emits a run, during which the clock moves.
func replay(c *clock, s event.Sink) {
	s.Emit(event.PhaseStarted{Phase: event.PhaseInspect})
	c.advance(300 * time.Millisecond)
	s.Emit(event.Notice{Message: "removed what a dead run left: backup job of vm1"})
	s.Emit(event.PhaseFinished{Phase: event.PhaseInspect, Duration: 300 * time.Millisecond, Detail: "mixed, 2 disks"})
	s.Emit(event.PhaseStarted{Phase: event.PhaseTransfer})
	s.Emit(event.Progress{Disk: "vda", Size: 200 << 20, Scanned: 20 << 20, Found: 10 << 20})
	for i := int64(1); i <= 25; i++ {
		c.advance(time.Second)
		s.Emit(event.Progress{Disk: "vda", Size: 200 << 20, Scanned: 150 << 20, Found: 80 << 20,
			Done: i << 20, Zero: 1 << 20, Written: i << 19, Total: 100 << 20,
			Traffic: event.Traffic{Bytes: i << 19, Frames: i, Codecs: []event.CodecTraffic{{Codec: "s2", Frames: i, Raw: i << 20, Stored: i << 18}}}})
	}
	s.Emit(event.Warning{Message: "the disk has grown\nsince the last state", Disk: "vdb"})
	s.Emit(event.PhaseFinished{Phase: event.PhaseTransfer, Duration: 25 * time.Second})
	s.Emit(summary)
}

func TestPlainOutputOfARun(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"auto": {Options{}, `removed what a dead run left: backup job of vm1
inspect: mixed, 2 disks (300 ms)
  vda: 10.0 MiB of 100.0 MiB (10%), 1.0 MiB/s, 1:30 left
  vda: 20.0 MiB of 100.0 MiB (20%), 1.0 MiB/s, 1:20 left
warning: disk vdb: the disk has grown
  since the last state
transfer (25.0 s)
vm1: state 2026-11-21T070301Z, mixed, filesystem-consistent
  4.0 GiB data and 1.0 GiB zeros changed; 42.3 s in all, frozen 41 ms
  1.2 GiB sent over SSH in 25.0 s, 49.2 MiB/s, compressed 3.3:1
  not directly: connection refused
`},
		"verbose without progress": {Options{Progress: ProgressNone, Verbose: true}, `inspect …
removed what a dead run left: backup job of vm1
inspect: mixed, 2 disks (300 ms)
transfer …
warning: disk vdb: the disk has grown
  since the last state
transfer (25.0 s)
vm1: state 2026-11-21T070301Z, mixed, filesystem-consistent
  disk vda: incremental, 1.0 GiB changed
  disk vdb: full, 3.0 GiB data and 1.0 GiB zeros changed
  4.0 GiB data and 1.0 GiB zeros changed; 42.3 s in all, frozen 41 ms
  1.2 GiB sent over SSH in 25.0 s, 49.2 MiB/s, compressed 3.3:1
  not directly: connection refused
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := newClock()
			test.options.Out, test.options.now = &out, c.now
			o := New(test.options)
			replay(c, o)
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, out.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestJSONOutputOfARun(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	o := New(Options{JSON: true, IsTerminal: true, Out: &out, now: c.now})
	replay(c, o)
	o.Emit(event.Error{Message: "no space left", Domain: "vm1", Disk: "vdb", Hint: "free some"})
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	// All progress lines but the first two are alike.
	lines = append(lines[:6], lines[6+24:]...)
	want := `{"time":"2026-11-21T07:03:01.005Z","event":"phase_started","phase":"inspect"}
{"time":"2026-11-21T07:03:01.305Z","event":"notice","message":"removed what a dead run left: backup job of vm1"}
{"time":"2026-11-21T07:03:01.305Z","event":"phase_finished","phase":"inspect","duration_seconds":0.3,"detail":"mixed, 2 disks"}
{"time":"2026-11-21T07:03:01.305Z","event":"phase_started","phase":"transfer"}
{"time":"2026-11-21T07:03:01.305Z","event":"progress","disk":"vda","done_bytes":0,"total_bytes":0,"zero_bytes":0,"written_bytes":0,"found_bytes":10485760,"scanned_bytes":20971520,"size_bytes":209715200,` +
		`"sent_bytes":0,"frames":0,"compression_ratio":0,"codecs":{}}
{"time":"2026-11-21T07:03:02.305Z","event":"progress","disk":"vda","done_bytes":1048576,"total_bytes":104857600,"zero_bytes":1048576,"written_bytes":524288,"found_bytes":83886080,"scanned_bytes":157286400,"size_bytes":209715200,` +
		`"sent_bytes":524288,"frames":1,"compression_ratio":4,"codecs":{"s2":{"frames":1,"raw_bytes":1048576,"stored_bytes":262144}}}
{"time":"2026-11-21T07:03:26.305Z","event":"warning","message":"the disk has grown\nsince the last state","disk":"vdb"}
{"time":"2026-11-21T07:03:26.305Z","event":"phase_finished","phase":"transfer","duration_seconds":25}
{"time":"2026-11-21T07:03:26.305Z","event":"summary","domain":"vm1","state":"2026-11-21T070301Z","kind":"mixed",` +
		`"consistency":"filesystem","changed_bytes":5368709120,"zero_bytes":1073741824,"transport":"ssh","not_direct":"connection refused","sent_bytes":1288490189,` +
		`"frames":5000,"compression_ratio":3.336,"codecs":{"none":{"frames":700,"raw_bytes":734003200,"stored_bytes":734003200},` +
		`"zstd":{"frames":3396,"raw_bytes":3560964096,"stored_bytes":553648128}},"sent_bytes_per_second":51539608,"transfer_seconds":25,` +
		`"duration_seconds":42.3,"frozen_seconds":0.041,"disks":[` +
		`{"disk":"vda","kind":"incremental","changed_bytes":1073741824,"zero_bytes":0},` +
		`{"disk":"vdb","kind":"full","changed_bytes":4294967296,"zero_bytes":1073741824}]}
{"time":"2026-11-21T07:03:26.305Z","event":"error","message":"no space left","domain":"vm1","disk":"vdb","hint":"free some"}
`
	if d := cmp.Diff(want, strings.Join(lines, "")); d != "" {
		t.Error(d)
	}
}

func TestErrorsGoToTheirOwnStream(t *testing.T) {
	var out, errs bytes.Buffer
	o := New(Options{Out: &out, Err: &errs})
	o.Emit(event.Error{Message: "no space left on device", Domain: "vm1", Disk: "vda", Hint: "free 3 GiB in /srv"})
	want := "error: vm1: disk vda: no space left on device\n  free 3 GiB in /srv\n"
	if out.Len() != 0 || errs.String() != want {
		t.Errorf("%q and %q", out.String(), errs.String())
	}
}

func TestControlCharactersAreNotShown(t *testing.T) {
	var out bytes.Buffer
	o := New(Options{Out: &out})
	o.Emit(event.Notice{Message: "a\x1b[2Jb\rc\u202ed\xffe\u009b\x00"})
	if got := out.String(); got != "a\uFFFD[2Jbc\uFFFDd\uFFFDe\uFFFD\uFFFD\n" {
		t.Errorf("%q", got)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestFailureToWriteIsToldAtTheEnd(t *testing.T) {
	for name, o := range map[string]Options{"plain": {}, "json": {JSON: true}, "terminal": {IsTerminal: true}} {
		t.Run(name, func(t *testing.T) {
			o.Out = brokenWriter{}
			out := New(o)
			replay(newClock(), out)
			if err := out.Close(); !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		})
	}
}

func TestEventsMayComeFromSeveralGoroutines(t *testing.T) {
	for name, o := range map[string]Options{"plain": {}, "json": {JSON: true}, "terminal": {IsTerminal: true}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o.Out = &out
			sink := New(o)
			sink.Emit(event.PhaseStarted{Phase: event.PhaseTransfer})
			var wg sync.WaitGroup
			for _, disk := range []string{"vda", "vdb", "vdc", "vdd"} {
				wg.Go(func() {
					for i := range int64(50) {
						sink.Emit(event.Progress{Disk: disk, Done: i, Total: 50})
						sink.Emit(event.Notice{Message: disk})
					}
				})
			}
			wg.Wait()
			sink.Emit(event.PhaseFinished{Phase: event.PhaseTransfer})
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "vdd"); n < 50 {
				t.Errorf("%d of 50 notices were shown", n)
			}
			if o.JSON {
				for line := range strings.Lines(out.String()) {
					if !json.Valid([]byte(line)) {
						t.Fatalf("%q is not JSON", line)
					}
				}
			}
		})
	}
}

func TestProgressOptionIsChecked(t *testing.T) {
	for _, s := range []string{"auto", "plain", "none"} {
		if p, err := ParseProgress(s); err != nil || string(p) != s {
			t.Error(p, err)
		}
	}
	if _, err := ParseProgress("loud"); err == nil {
		t.Error("accepted")
	}
}
