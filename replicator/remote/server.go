package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"vmsync/replicator"
)

// Ends makes the end that an agent serves; only the one that the controller
// asks for is made.
type Ends struct {
	Source func() replicator.SourceEnd
	Target func() replicator.TargetEnd // nil: the agent is a source only
	// PullOnly has the agent refuse every method but those of [pullMethods].
	PullOnly bool
}

// ErrSilent means that nothing was heard from the other side for too long.
var ErrSilent = errors.New("no sign of life from the other side")

// Serve is an agent: it serves one end to the controller at the other side of
// in and out, until the controller closes, falls silent, or ctx ends. What the
// end began is undone or finished when Serve returns. It returns nil when the
// controller closed in an orderly way.
func Serve(ctx context.Context, in io.ReadCloser, out io.Writer, ends Ends) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &agent{ends: ends}
	a.closing, a.interrupt = context.WithCancel(ctx)
	watch := newWatchdog(silence, func() { cancel(ErrSilent) })
	defer watch.stop()
	methods, backlog := a.methods(), &backlog{}
	if ends.PullOnly {
		methods = onlyPull(methods)
	}
	srv := jrpc2.NewServer(methods, &jrpc2.ServerOptions{
		AllowPush:   true,
		Concurrency: 8, // a ping must get through while calls are in progress
		NewContext:  func() context.Context { return ctx },
		RPCLog:      backlog,
	})
	// The server itself would first wait for the method in progress, which may have
	// nothing to end it but that nobody is there any more.
	heard := func() error {
		watch.feed()
		err := backlog.add()
		if err != nil {
			cancel(err)
		}
		return err
	}
	srv.Start(newLines(in, out, in.Close, heard, func() { cancel(nil) }))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Wait()
		cancel(nil)
	}()
	<-ctx.Done()
	err := context.Cause(ctx)
	cerr := a.closeEnd()
	srv.Stop()
	select {
	case <-stopped:
	case <-time.After(stopGrace):
		// A read of the input goes on for ever where the input is a pipe that another
		// process made, whatever is closed.
	}
	if cerr != nil {
		return cerr
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stopGrace is how long an agent whose end is closed waits for its connection to end.
const stopGrace = time.Second

// agent holds the one end that a controller has asked for.
type agent struct {
	ends Ends

	// closing ends when the end is to be closed, and with it the method in progress.
	closing   context.Context
	interrupt context.CancelFunc

	op sync.Mutex // held while a method of the end runs: they run one at a time

	mu     sync.Mutex // guards the fields below
	source replicator.SourceEnd
	target replicator.TargetEnd
}

func (a *agent) methods() handler.Map {
	return handler.Map{
		methodHello: handler.New(func(ctx context.Context, h hello) (hello, error) {
			reply, err := a.hello(h)
			return reply, encodeError(err)
		}),
		methodPing:   handler.New(func(context.Context) error { return nil }),
		methodClose:  handler.New(func(context.Context) error { return encodeError(a.closeEnd()) }),
		methodCancel: handler.New(cancelCall),

		methodList: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, _ struct{}) ([]replicator.SourceDomain, error) {
			return s.List(ctx)
		}),
		methodPeek: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, r peekRequest) ([]replicator.Peek, error) {
			return s.Peek(ctx, r.Marks)
		}),
		methodInspect: serve(a, &a.source, replicator.SourceEnd.Inspect),
		methodChanged: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, r changedRequest) (map[string]int64, error) {
			return s.Changed(ctx, r.Checkpoint)
		}),
		methodTake: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, r replicator.KnownPart) (struct{}, error) {
			return struct{}{}, s.TakeKnown(ctx, r)
		}),
		methodBegin: serve(a, &a.source, replicator.SourceEnd.Begin),
		methodReady: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, r replicator.BeginRequest) (struct{}, error) {
			return struct{}{}, s.Ready(ctx, r)
		}),
		methodFreeze:     serve(a, &a.source, step(replicator.SourceEnd.Freeze)),
		methodCheckpoint: serve(a, &a.source, step(replicator.SourceEnd.Checkpoint)),
		methodThaw: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, _ struct{}) (*replicator.Begun, error) {
			return s.Thaw(ctx)
		}),
		methodRelease: serve(a, &a.source, step(replicator.SourceEnd.Release)),

		methodSent:   serve(a, &a.source, waitAndPush[replicator.SourceEnd]),
		methodHashed: serve(a, &a.source, replicator.SourceEnd.Hashed),
		methodFinish: serve(a, &a.source, func(s replicator.SourceEnd, ctx context.Context, r finishRequest) (struct{}, error) {
			return struct{}{}, s.Finish(ctx, r.Drop)
		}),
		methodAbandon:  serve(a, &a.source, step(replicator.SourceEnd.Abandon)),
		methodOnSource: serve(a, &a.source, hookAndPush[replicator.SourceEnd]),

		methodOpen:     serve(a, &a.target, replicator.TargetEnd.Open),
		methodPrepare:  serve(a, &a.target, prepareAndPush),
		methodKnown:    serve(a, &a.target, replicator.TargetEnd.Known),
		methodReceived: serve(a, &a.target, waitAndPush[replicator.TargetEnd]),
		methodCommit:   serve(a, &a.target, replicator.TargetEnd.Commit),
		methodSettle: serve(a, &a.target, func(t replicator.TargetEnd, ctx context.Context, _ struct{}) (*replicator.Settled, error) {
			return t.Settle(ctx)
		}),
		methodOnTarget: serve(a, &a.target, hookAndPush[replicator.TargetEnd]),
	}
}

func (a *agent) hello(h hello) (hello, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	host, _ := os.Hostname()
	switch {
	case h.Protocol != protocol:
		return hello{}, &replicator.Error{Kind: replicator.KindVersion, Op: "say hello",
			Hint: "install the same release of vmsync on every host",
			Err:  fmt.Errorf("vmsync on %s speaks protocol %d, the controller speaks %d", host, protocol, h.Protocol)}
	case a.source != nil || a.target != nil:
		return hello{}, errors.New("this agent has a role already")
	case h.Role == RoleSource:
		a.source = a.ends.Source()
	case h.Role == RoleTarget && a.ends.Target == nil:
		return hello{}, &replicator.Error{Kind: replicator.KindDenied, Op: "use " + host + " as a target",
			Hint: "reach it through SSH", Err: errors.New("who comes over TLS may only pull machines from there")}
	case h.Role == RoleTarget:
		a.target = a.ends.Target()
	default:
		return hello{}, fmt.Errorf("unknown role %q", h.Role)
	}
	return hello{Protocol: protocol, Role: h.Role}, nil
}

// closeEnd interrupts the method in progress, waits for it, and closes the end
// once; later calls find none.
func (a *agent) closeEnd() error {
	a.interrupt()
	a.op.Lock()
	defer a.op.Unlock()
	a.mu.Lock()
	source, target := a.source, a.target
	a.source, a.target = nil, nil
	a.mu.Unlock()
	switch {
	case source != nil:
		return source.Close()
	case target != nil:
		return target.Close()
	}
	return nil
}

var errNoRole = errors.New("this agent has no such role, or is closing")

// enter begins a method of the end; leave ends it.
func (a *agent) enter(ctx context.Context) (_ context.Context, leave func()) {
	a.op.Lock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.closing, cancel)
	return ctx, func() {
		stop()
		cancel()
		a.op.Unlock()
	}
}

// serve makes the handler of one method of an end that this agent may have.
func serve[End, Req, Resp any](a *agent, end *End, method func(End, context.Context, Req) (Resp, error)) jrpc2.Handler {
	return handler.New(func(ctx context.Context, req Req) (Resp, error) {
		ctx, leave := a.enter(ctx)
		defer leave()
		a.mu.Lock()
		e := *end
		a.mu.Unlock()
		if any(e) == nil {
			var none Resp
			return none, encodeError(errNoRole)
		}
		resp, err := method(e, ctx, req)
		return resp, encodeError(err)
	})
}

// push sends progress to the controller. What cannot be sent is not missed: the call it
// belongs to fails for the same reason.
func push(ctx context.Context) func(replicator.Progress) {
	srv := jrpc2.ServerFromContext(ctx)
	return func(p replicator.Progress) { _ = srv.Notify(ctx, methodProgress, p) }
}

// step is a method of the source that neither takes nor tells anything.
func step(method func(replicator.SourceEnd, context.Context) error) func(replicator.SourceEnd, context.Context, struct{}) (struct{}, error) {
	return func(s replicator.SourceEnd, ctx context.Context, _ struct{}) (struct{}, error) {
		return struct{}{}, method(s, ctx)
	}
}

func prepareAndPush(t replicator.TargetEnd, ctx context.Context, req replicator.PrepareRequest) (*replicator.Prepared, error) {
	return t.Prepare(ctx, req, push(ctx))
}

// waitAndPush waits for the stream's end.
func waitAndPush[End interface {
	Wait(context.Context, func(replicator.Progress)) (*replicator.StreamResult, error)
}](e End, ctx context.Context, _ struct{}) (*replicator.StreamResult, error) {
	return e.Wait(ctx, push(ctx))
}
