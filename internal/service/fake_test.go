package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/replicator"
)

// world is sources and replicas that take time and fail as a test says; time is that of
// the test's bubble.
type world struct {
	mu      sync.Mutex
	domains map[string][]replicator.SourceDomain // by source
	down    map[string]bool
	change  map[string]chan struct{} // closed when something of a source changes
	took    time.Duration            // by a sync
	fails   map[string]error         // by domain
	skips   map[string]bool
	runs    []ran
	now     map[string]int // syncs under way, by domain
	most    int            // syncs under way at once
	twice   bool           // a domain was synced twice at once
}

// ran is a sync that began.
type ran struct {
	domain string
	at     time.Time
	req    replicator.Request
}

func newWorld() *world {
	return &world{domains: map[string][]replicator.SourceDomain{}, down: map[string]bool{}, change: map[string]chan struct{}{},
		took: time.Second, fails: map[string]error{}, skips: map[string]bool{}, now: map[string]int{}}
}

// has sets the domains of a source, all running.
func (w *world) has(source string, names ...string) {
	var all []replicator.SourceDomain
	for _, n := range names {
		all = append(all, replicator.SourceDomain{Name: n, UUID: n, Running: true})
	}
	w.set(source, func() { w.domains[source] = all })
}

// set changes something of a source, and has its watch notice.
func (w *world) set(source string, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	if c := w.change[source]; c != nil {
		close(c)
	}
	w.change[source] = make(chan struct{})
}

func (w *world) Watch(ctx context.Context, source config.Host, every time.Duration, asks <-chan Ask, tell func([]replicator.SourceDomain)) error {
	for {
		w.mu.Lock()
		down, all, changed := w.down[source.Name], w.domains[source.Name], w.change[source.Name]
		w.mu.Unlock()
		if down {
			return &replicator.Error{Kind: replicator.KindUnreachable, Op: "connect to " + source.Name, Err: errors.New("no route to host")}
		}
		tell(all)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(every):
		}
	}
}

func (w *world) Sync(ctx context.Context, job Job, out event.Sink) (replicator.Synced, error) {
	domain := job.Request.Domain
	w.mu.Lock()
	w.runs = append(w.runs, ran{domain, time.Now(), job.Request})
	w.now[domain]++
	w.twice = w.twice || w.now[domain] > 1
	sum := 0
	for _, n := range w.now {
		sum += n
	}
	w.most = max(w.most, sum)
	took, err, skip := w.took, w.fails[domain], w.skips[domain]
	w.mu.Unlock()
	out.Emit(event.PhaseStarted{Phase: event.PhaseTransfer})
	out.Emit(event.Progress{Disk: "vda", Done: 1, Total: 4})
	select {
	case <-ctx.Done():
		time.Sleep(time.Second) // it undoes what it began
		err = context.Cause(ctx)
	case <-time.After(took):
	}
	w.mu.Lock()
	w.now[domain]--
	w.mu.Unlock()
	switch {
	case err != nil:
		return replicator.Synced{}, err
	case skip:
		return replicator.Synced{Skipped: &event.Skipped{Domain: domain}}, nil
	}
	out.Emit(event.PhaseFinished{Phase: event.PhaseTransfer, Duration: took})
	return replicator.Synced{Summary: &event.Summary{Domain: domain, State: fmt.Sprint("s", len(w.ranOf(domain))), ChangedBytes: 7}}, nil
}

func (w *world) ranOf(domain string) (all []ran) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runs {
		if r.domain == domain {
			all = append(all, r)
		}
	}
	return all
}

// service is a service in a world.
type running struct {
	*Service
	t     *testing.T
	world *world
	stop  context.CancelFunc
	ended chan error
	log   *bytes.Buffer
	text  string // of the configuration, for the next reload
}

const head = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system', hostb: 'qemu+ssh://root@hostb/system'}\n"

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs a service until the test's end. It is to be called in a bubble.
func serve(t *testing.T, w *world, text string) *running { return serveAt(t, w, text, historyFile(t)) }

func historyFile(t *testing.T) string { return filepath.Join(t.TempDir(), "history.db") }

func serveAt(t *testing.T, w *world, text, path string) *running {
	t.Helper()
	h, _, err := history.Open(path, history.Limits{Runs: 1000, Age: 1000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, world: w, ended: make(chan error, 1), log: &bytes.Buffer{}, text: text}
	r.Service = New(Options{Config: parse(t, text), History: h, Ends: w, Grace: 30 * time.Second,
		Log:  slog.New(slog.NewTextHandler(r.log, nil)),
		Load: func() (*config.Config, error) { return config.Parse("test.yaml", []byte(r.text)) }})
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() {
		err := r.Run(ctx)
		r.ended <- errors.Join(err, h.Close())
	}()
	t.Cleanup(r.end)
	return r
}

// end ends the service and waits for that.
func (r *running) end() {
	r.stop()
	if err, open := <-r.ended; open && err != nil {
		r.t.Error(err)
	} else if open {
		close(r.ended)
	}
}
