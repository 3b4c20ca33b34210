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
	tooks   map[string]time.Duration // by those of some domains
	fails   map[string]error         // by domain
	skips   map[string]bool
	runs    []ran
	now     map[string]int              // syncs under way, by domain
	most    int                         // syncs under way at once
	twice   bool                        // a domain was synced twice at once
	marks   map[string]*replicator.Mark // that syncs leave, by domain
	dirty   map[string]bool             // domains that have changed since
	mute    map[string]bool             // sources whose watch does not answer
	looks   []ran                       // at domains

	ended  func(*history.Run) // is told of each run, if set
	listen func(string) error // is asked about a changed address of metrics, if set
}

// ran is a sync that began.
type ran struct {
	domain string
	at     time.Time
	req    replicator.Request
}

func newWorld() *world {
	return &world{domains: map[string][]replicator.SourceDomain{}, down: map[string]bool{}, change: map[string]chan struct{}{},
		took: time.Second, fails: map[string]error{}, skips: map[string]bool{}, now: map[string]int{},
		marks: map[string]*replicator.Mark{}, dirty: map[string]bool{}, mute: map[string]bool{}}
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
		next := time.After(every)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
				waiting = false
			case <-next:
				waiting = false
			case ask := <-asks:
				w.answer(source.Name, ask)
			}
		}
	}
}

func (w *world) answer(source string, ask Ask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute[source] {
		return
	}
	var peeks []replicator.Peek
	for _, m := range ask.Marks {
		w.looks = append(w.looks, ran{domain: m.Domain, at: time.Now()})
		p := replicator.Peek{Shape: m.Shape, Changed: map[string]int64{"vda": 0}}
		if w.dirty[m.Domain] {
			p.Changed["vda"] = 65536
		}
		peeks = append(peeks, p)
	}
	ask.Reply <- peeks
}

// changes has a domain change, or be as its replica again.
func (w *world) changes(domain string, dirty bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirty[domain] = dirty
}

func (w *world) looksAt(domain string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.looks {
		if l.domain == domain {
			n++
		}
	}
	return n
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
	if long, ok := w.tooks[domain]; ok {
		took = long
	}
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
		return replicator.Synced{Skipped: &event.Skipped{Domain: domain}, Mark: w.marks[domain]}, nil
	}
	w.changes(domain, false)
	out.Emit(event.PhaseFinished{Phase: event.PhaseTransfer, Duration: took})
	return replicator.Synced{Summary: &event.Summary{Domain: domain, State: fmt.Sprint("s", len(w.ranOf(domain))), ChangedBytes: 7},
		Mark: w.marks[domain]}, nil
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

// overlapped tells whether a domain was synced twice at once.
func (w *world) overlapped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.twice
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
	post  *postbox
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
	r := &running{t: t, world: w, ended: make(chan error, 1), log: &bytes.Buffer{}, text: text, post: &postbox{}}
	r.Service = New(Options{Config: parse(t, text), History: h, Ends: w, Grace: 30 * time.Second, Ended: w.ended, Listen: w.listen, Notify: r.post.take,
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
