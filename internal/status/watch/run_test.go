package watch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/termtest"
)

// fleet is a service as a test says.
type fleet struct {
	mu     sync.Mutex
	status *api.Status
	down   bool
	asked  int
	past   []api.Event
	more   chan api.Event
	cut    context.CancelFunc // of the stream of events
}

var errDown = errors.New("the service does not run")

func (f *fleet) Status(context.Context) (*api.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down {
		return nil, errDown
	}
	return f.status, nil
}

func (f *fleet) LastRuns(context.Context, int) ([]history.Run, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.down {
		return nil, errDown
	}
	return nil, nil
}

func (f *fleet) Events(ctx context.Context, last int, after string, tell func(api.Event)) error {
	f.mu.Lock()
	f.asked++
	past := f.past[max(0, len(f.past)-last):]
	if i := slices.IndexFunc(past, func(e api.Event) bool { return e.ID == after }); i >= 0 {
		past = past[i+1:]
	}
	ctx, f.cut = context.WithCancel(ctx)
	defer f.cut()
	f.mu.Unlock()
	for _, e := range past {
		tell(e)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-f.more:
			tell(e)
		}
	}
}

// tell has an event happen, which somebody must listen to.
func (f *fleet) tell(t *testing.T, e api.Event) {
	t.Helper()
	select {
	case f.more <- e:
	case <-time.After(20 * time.Second):
		t.Fatalf("nobody listens to %+v", e)
	}
}

func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// shown runs the view on a terminal.
func shown(t *testing.T, f *fleet, columns, rows int) (screen *termtest.Screen, ended chan error, stop context.CancelFunc) {
	t.Helper()
	screen, err := termtest.Open(columns, rows)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	var view sync.WaitGroup
	view.Go(func() {
		ended <- Run(ctx, f, "", Terminal{In: screen.TTY(), Out: screen.TTY(), Environ: []string{"TERM=xterm-256color"}, Colours: true})
	})
	t.Cleanup(func() {
		stop()
		view.Wait()
		if err := screen.Close(); err != nil {
			t.Error(err)
		}
	})
	return screen, ended, stop
}

func await(t *testing.T, s *termtest.Screen, text string) {
	t.Helper()
	if err := s.AwaitText(20*time.Second, text); err != nil {
		t.Fatal(err)
	}
}

// restored checks that the view has ended well and left the terminal as it was.
func restored(t *testing.T, s *termtest.Screen, ended chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if cooked, err := s.Cooked(); err != nil || !cooked {
		t.Errorf("the terminal is left raw, %v", err)
	}
	if err := s.Await(5*time.Second, "the shell's screen", func(string) bool { return !s.AltScreen() }); err != nil {
		t.Error(err)
	}
}

func TestViewOnATerminal(t *testing.T) {
	f := &fleet{status: small().status, more: make(chan api.Event), past: []api.Event{{Event: api.EventSourceLost, ID: "1", Time: time.Now(), Source: "hostb"}}}
	s, ended, _ := shown(t, f, 80, 24)
	for _, text := range []string{"6 machines: 2 broken", "[########------------]  41%", `new\x1b[2J\u202e`, "hostb does not answer"} {
		await(t, s, text)
	}
	paused := api.Event{Event: api.EventPaused, ID: "2", Time: time.Now(), Source: "hosta", Machine: "build", Reason: "because"}
	f.tell(t, paused)
	await(t, s, "build is paused: because")

	// The service is restarted: what happened before is told once.
	f.set(func() { f.down = true; f.past = append(f.past, paused); f.cut() })
	await(t, s, "no answer for")
	await(t, s, "the service does not run")
	f.set(func() { f.down = false })
	await(t, s, "6 machines: 2 broken")
	f.tell(t, api.Event{Event: api.EventReloaded, Time: time.Now()})
	await(t, s, "read again")
	if n := strings.Count(s.Text(), "does not answer"); n != 1 {
		t.Errorf("told %d times\n%s", n, s.Text())
	}

	if err := s.Resize(40, 12); err != nil {
		t.Fatal(err)
	}
	// A terminal tells the programs of its session; this process is of another.
	if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if err := s.Await(20*time.Second, "a smaller screen", func(text string) bool { return strings.HasPrefix(strings.Split(text, "\n")[11], "q quit") }); err != nil {
		t.Fatal(err)
	}
	if err := s.Type("\x1b[B\x1b[B"); err != nil {
		t.Fatal(err)
	}
	await(t, s, "> db1")
	if err := s.Type("q"); err != nil {
		t.Fatal(err)
	}
	restored(t, s, ended)
}

func TestViewEndsWithItsContextAndLeavesTheTerminalAsItWas(t *testing.T) {
	f := &fleet{status: small().status, more: make(chan api.Event)}
	s, ended, stop := shown(t, f, 80, 24)
	await(t, s, "6 machines")
	stop()
	restored(t, s, ended)
}

// TestHundredMachinesAreOneRequestASecondAndFewBytes counts what it costs to look.
func TestHundredMachinesAreOneRequestASecondAndFewBytes(t *testing.T) {
	f := &fleet{status: large(100).status, more: make(chan api.Event)}
	s, _, _ := shown(t, f, 80, 24)
	await(t, s, "100 machines")
	time.Sleep(500 * time.Millisecond) // the first screen is drawn
	var asked int
	f.set(func() { asked = f.asked })
	before := s.Written()
	for i := range 5 {
		time.Sleep(time.Second)
		// All have aged.
		next := *f.status
		next.Machines = append([]api.Machine(nil), f.status.Machines...)
		for j := range next.Machines {
			age := *next.Machines[j].Age + float64(i) + 1
			next.Machines[j].Age = &age
		}
		f.set(func() { f.status = &next })
	}
	f.set(func() { asked = f.asked - asked })
	if asked > 7 {
		t.Errorf("%d requests in 5 seconds", asked)
	}
	if n := (s.Written() - before) / 5; n == 0 || n > 1000 {
		t.Errorf("%d bytes a second", n)
	} else {
		t.Logf("%d requests and %d bytes in 5 s", asked, n*5)
	}
}
