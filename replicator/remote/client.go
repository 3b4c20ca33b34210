package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/creachadair/jrpc2"

	"vmsync/replicator"
)

// Process is a running agent.
type Process struct {
	Host   string // for messages
	Stdin  io.WriteCloser
	Stdout io.Reader
	// Wait returns when the agent has ended, with its error. It is called once.
	Wait func() error
	// Kill ends an agent that does not end by itself.
	Kill func()
	// Warnings are about the way to it, for people.
	Warnings []string
}

// closeLimit bounds how long an agent may take to undo a run.
const closeLimit = 60 * time.Second

// Conn is a controller's connection to one agent. It owns the agent's process.
// Its methods may be called from several goroutines.
type Conn struct {
	proc    Process
	client  *jrpc2.Client
	stop    context.CancelFunc
	pinger  sync.WaitGroup
	exited  chan struct{}
	exitErr error

	mu       sync.Mutex
	progress func(replicator.Progress)
	output   output
}

// Connect greets an agent and gives it its role. It takes over the process also
// when it fails.
func Connect(ctx context.Context, p Process, role Role) (*Conn, error) {
	pingCtx, stop := context.WithCancel(context.Background())
	c := &Conn{proc: p, stop: stop, exited: make(chan struct{})}
	watch := newWatchdog(silence, func() { p.Stdin.Close(); p.Kill() })
	feed := func() error { watch.feed(); return nil }
	c.client = jrpc2.NewClient(tap{newLines(p.Stdout, p.Stdin, p.Stdin.Close, feed, nil), c.notified, c.wrote},
		&jrpc2.ClientOptions{OnCancel: tellCanceled})
	go func() {
		defer close(c.exited)
		defer watch.stop()
		c.exitErr = p.Wait()
	}()
	c.pinger.Add(1)
	go func() {
		defer c.pinger.Done()
		c.ping(pingCtx)
	}()
	if err := c.call(ctx, methodHello, hello{Protocol: protocol, Role: role}, &hello{}); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// Gone is closed when the agent has ended, or was given up for being silent.
func (c *Conn) Gone() <-chan struct{} { return c.exited }

// ping tells the agent every few seconds that the controller lives.
func (c *Conn) ping(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.exited:
			return
		case <-tick.C:
			pctx, cancel := context.WithTimeout(ctx, silence)
			_, _ = c.client.Call(pctx, methodPing, nil) // the watchdog judges
			cancel()
		}
	}
}

func (c *Conn) notified(p replicator.Progress) {
	// Under the lock, so that none comes after the call it belongs to has returned.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.progress != nil {
		c.progress(p)
	}
}

func (c *Conn) onProgress(f func(replicator.Progress)) {
	c.mu.Lock()
	c.progress = f
	c.mu.Unlock()
}

// call runs one method. When the agent has died it says so, with what the agent
// said last, rather than that a pipe is broken.
func (c *Conn) call(ctx context.Context, method string, req, resp any) error {
	rsp, err := c.client.Call(ctx, method, req)
	if err == nil && resp != nil {
		err = rsp.UnmarshalResult(resp)
	}
	err = decodeError(err)
	var typed *replicator.Error
	if err == nil || errors.As(err, &typed) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var rpc *jrpc2.Error
	if errors.As(err, &rpc) && rpc.Code != jrpc2.Cancelled {
		return err
	}
	select {
	case <-c.exited:
	case <-time.After(2 * time.Second):
	}
	return c.lost(method, err)
}

// lost describes an agent that is gone.
func (c *Conn) lost(method string, err error) error {
	select {
	case <-c.exited:
		var typed *replicator.Error
		if errors.As(c.exitErr, &typed) {
			return c.exitErr
		}
		if c.exitErr != nil {
			err = c.exitErr
		}
	default:
	}
	return &replicator.Error{Kind: replicator.KindAgentLost, Op: method,
		Hint: "run the sync again; it cleans up what this one left",
		Err:  fmt.Errorf("lost vmsync on %s: %w", c.proc.Host, err)}
}

// Close lets the end undo or finish what it began and ends the agent.
func (c *Conn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var err error
	select {
	case <-c.exited: // it closed its end itself
	default:
		err = c.call(ctx, methodClose, nil, nil)
	}
	c.end()
	return err
}

// end closes the connection and waits for the agent to exit.
func (c *Conn) end() {
	c.stop()
	c.client.Close()
	select {
	case <-c.exited:
	case <-time.After(closeLimit):
		c.proc.Kill()
		<-c.exited
	}
	c.pinger.Wait()
}
