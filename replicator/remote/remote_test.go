package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
)

var someProgress = replicator.Progress{Disk: "vda", Size: 9, Scanned: 8, Found: 3, Total: 4, Done: 2, Zero: 1,
	Traffic: spec.Traffic{Wire: 3, ZeroFrames: 1, Zstd: spec.CodecTraffic{Frames: 1, Raw: 7, Stored: 2}}}

// end is a source end that answers from a script; what it is asked is real JSON
// over real pipes.
type end struct {
	replicator.SourceEnd
	inspect func(ctx context.Context) (*replicator.SourceView, error)
	closed  chan struct{}
	wait    func(progress func(replicator.Progress))
	hook    func(ctx context.Context, program string, output func(string)) error
}

func (e *end) Hook(ctx context.Context, r replicator.HookRequest, output func(string)) error {
	return e.hook(ctx, r.Command[0], output)
}

func (e *end) Inspect(ctx context.Context, _ replicator.InspectRequest) (*replicator.SourceView, error) {
	return e.inspect(ctx)
}

func (e *end) List(context.Context) ([]replicator.SourceDomain, error) {
	return []replicator.SourceDomain{{Name: "vm1", UUID: "4711", Running: true}, {Name: "vm2"}}, nil
}

func (e *end) Wait(_ context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	e.wait(progress)
	return &replicator.StreamResult{Traffic: spec.Traffic{Wire: 7}}, nil
}

func (e *end) Close() error {
	close(e.closed)
	return nil
}

// connectTo serves e in this process and connects to it.
func connectTo(t *testing.T, e replicator.SourceEnd) (*Conn, chan error) {
	t.Helper()
	return connectToEnd(t, e)
}

func connectToEnd(t *testing.T, e replicator.SourceEnd) (*Conn, chan error) {
	t.Helper()
	toAgent, fromController := io.Pipe()
	toController, fromAgent := io.Pipe()
	served := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		served <- Serve(t.Context(), toAgent, fromAgent, Ends{Source: func() replicator.SourceEnd { return e }})
		fromAgent.Close()
	}()
	conn, err := Connect(t.Context(), Process{Host: "hosta", Stdin: fromController, Stdout: toController,
		Wait: func() error { <-exited; return nil }, Kill: func() { fromController.Close() }}, RoleSource)
	if err != nil {
		t.Fatal(err)
	}
	return conn, served
}

func TestErrorsKeepTheirKindAcrossTheConnection(t *testing.T) {
	want := &replicator.Error{Kind: replicator.KindDiskUnfit, Domain: "vm1", Disk: "vda", Op: "look", Hint: "convert it", Err: errors.New("raw")}
	e := &end{closed: make(chan struct{}), inspect: func(context.Context) (*replicator.SourceView, error) { return nil, want }}
	conn, _ := connectTo(t, e)
	defer conn.Close()
	_, err := Source{conn}.Inspect(t.Context(), replicator.InspectRequest{Domain: "vm1"})
	var got *replicator.Error
	if !errors.As(err, &got) || got.Error() != want.Error() || got.Kind != want.Kind || got.Disk != "vda" || got.Hint != want.Hint {
		t.Fatalf("got %#v", err)
	}
}

func TestDomainsAreListedAgainAndAgainUntilTheAgentIsGone(t *testing.T) {
	conn, _ := connectTo(t, &end{closed: make(chan struct{})})
	for range 2 {
		all, err := Source{conn}.List(t.Context())
		if err != nil || len(all) != 2 || all[0] != (replicator.SourceDomain{Name: "vm1", UUID: "4711", Running: true}) || all[1].Running {
			t.Fatalf("%+v, %v", all, err)
		}
	}
	select {
	case <-conn.Gone():
		t.Fatal("gone while it serves")
	default:
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-conn.Gone()
}

func TestProgressArrivesWhileTheCallLasts(t *testing.T) {
	arrived := make(chan struct{})
	e := &end{closed: make(chan struct{}), wait: func(progress func(replicator.Progress)) {
		progress(someProgress)
		<-arrived
	}}
	conn, _ := connectTo(t, e)
	defer conn.Close()
	var seen []replicator.Progress
	res, err := Source{conn}.Wait(t.Context(), func(p replicator.Progress) {
		seen = append(seen, p)
		close(arrived)
	})
	if err != nil || res.Traffic.Wire != 7 {
		t.Fatalf("%+v, %v", res, err)
	}
	if len(seen) != 1 || seen[0] != someProgress {
		t.Fatalf("progress %+v", seen)
	}
}

func TestProgressArrivesInOrderAndBeforeTheResultThatFollowsIt(t *testing.T) {
	const n = 200
	e := &end{closed: make(chan struct{}), wait: func(progress func(replicator.Progress)) {
		for i := range int64(n) {
			progress(replicator.Progress{Disk: "vda", Done: i})
		}
	}}
	conn, _ := connectTo(t, e)
	defer conn.Close()
	for range 20 {
		var seen []int64
		if _, err := (Source{conn}).Wait(t.Context(), func(p replicator.Progress) { seen = append(seen, p.Done) }); err != nil {
			t.Fatal(err)
		}
		if len(seen) != n || !slices.IsSorted(seen) {
			t.Fatalf("%d of %d have arrived, as %v", len(seen), n, seen)
		}
	}
}

func TestCloseInterruptsTheMethodInProgressAndThenClosesTheEnd(t *testing.T) {
	started := make(chan struct{})
	finished := make(chan struct{})
	e := &end{closed: make(chan struct{}), inspect: func(ctx context.Context) (*replicator.SourceView, error) {
		close(started)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // it takes a while to stop
		close(finished)
		return nil, ctx.Err()
	}}
	conn, served := connectTo(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := (Source{conn}).Inspect(ctx, replicator.InspectRequest{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-e.closed
	select {
	case <-finished:
	default:
		t.Error("the end was closed while its method was still running")
	}
	if err := <-served; err != nil {
		t.Errorf("agent ended with %v", err)
	}
}

func TestAgentClosesItsEndWhenTheControllerVanishesInTheMiddleOfAMethod(t *testing.T) {
	started := make(chan struct{})
	e := &end{closed: make(chan struct{}), inspect: func(ctx context.Context) (*replicator.SourceView, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	conn, served := connectTo(t, e)
	result := make(chan error)
	go func() {
		_, err := Source{conn}.Inspect(t.Context(), replicator.InspectRequest{})
		result <- err
	}()
	<-started
	conn.proc.Stdin.Close() // as when the controller is killed
	<-e.closed
	<-served
	if err := <-result; err == nil {
		t.Error("the method succeeded")
	}
	conn.Close()
}

// deafInput is a pipe from another process: closing it ends no read.
type deafInput struct {
	io.Reader
	ends chan struct{}
}

func (d deafInput) Read(p []byte) (int, error) {
	if n, err := d.Reader.Read(p); err == nil {
		return n, nil
	}
	<-d.ends
	return 0, io.EOF
}

func (d deafInput) Close() error { return nil }

func TestAgentClosesItsEndAsSoonAsTheSilenceIsLongEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := deafInput{strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":%d,"role":"source"}}`+"\n", protocol)), make(chan struct{})}
		defer close(in.ends)
		start := time.Now()
		e := &end{closed: make(chan struct{})}
		served := make(chan error)
		go func() {
			served <- Serve(t.Context(), in, io.Discard, Ends{Source: func() replicator.SourceEnd { return e }})
		}()
		<-e.closed
		if waited := time.Since(start); waited != silence {
			t.Errorf("the end was closed after %v", waited)
		}
		if err := <-served; !errors.Is(err, ErrSilent) {
			t.Errorf("the agent ended with %v", err)
		}
	})
}

func TestWatchdogBitesOnlyInSilence(t *testing.T) {
	bitten := make(chan struct{})
	w := newWatchdog(100*time.Millisecond, func() { close(bitten) })
	for range 10 {
		w.feed()
		select {
		case <-bitten:
			t.Skip("this machine stalls for longer than the test's limit")
		case <-time.After(20 * time.Millisecond):
		}
	}
	<-bitten
}

func TestAgentOfAnotherProtocolIsRefused(t *testing.T) {
	a := &agent{}
	if _, err := a.hello(hello{Protocol: protocol + 1, Role: RoleSource}); replicator.KindOf(err) != replicator.KindVersion {
		t.Errorf("got %v", err)
	}
}

func TestOversizedMessageIsRefused(t *testing.T) {
	r, w := io.Pipe()
	l := newLines(r, io.Discard, r.Close, func() error { return nil }, nil)
	go func() {
		chunk := make([]byte, 1<<20)
		for i := range chunk {
			chunk[i] = 'x'
		}
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	if _, err := l.Recv(); err == nil {
		t.Fatal("accepted")
	}
	l.Close()
}
