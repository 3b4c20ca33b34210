package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

var errInUse = syscall.EADDRINUSE

// Accept waits until n connections have come over one of the listeners, of which
// any may be nil, and closes both listeners. A stranger's TCP connection, one
// without the right certificate, is closed and counts for nothing.
func Accept(ctx context.Context, n int, local *net.UnixListener, direct *net.TCPListener, config *tls.Config) ([]*Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &acceptor{conns: make(chan arrival), failed: make(chan error, 2)}
	var open []func() error
	if local != nil {
		open = append(open, local.Close)
		a.running.Go(func() { a.acceptUnix(ctx, local) })
	}
	if direct != nil {
		open = append(open, direct.Close)
		a.running.Go(func() { a.acceptTLS(ctx, direct, config) })
	}
	stop := context.AfterFunc(ctx, func() {
		for _, f := range open {
			_ = f()
		}
	})
	conns, err := a.collect(ctx, n)
	cancel()
	stop()
	for _, f := range open {
		_ = f()
	}
	// What arrives from now on is one too many.
	go func() { a.running.Wait(); close(a.conns) }()
	for late := range a.conns {
		_ = late.conn.Close()
	}
	return conns, err
}

// arrival is a connection and the way it came.
type arrival struct {
	conn   *Conn
	direct bool
}

type acceptor struct {
	running sync.WaitGroup
	conns   chan arrival
	failed  chan error
}

// collect returns the first n connections that come the same way.
func (a *acceptor) collect(ctx context.Context, n int) ([]*Conn, error) {
	var came [2][]*Conn
	for {
		select {
		case <-ctx.Done():
			CloseAll(append(came[0], came[1]...))
			return nil, context.Cause(ctx)
		case err := <-a.failed:
			CloseAll(append(came[0], came[1]...))
			return nil, err
		case c := <-a.conns:
			way, other := 0, 1
			if c.direct {
				way, other = 1, 0
			}
			came[way] = append(came[way], c.conn)
			if len(came[way]) == n {
				CloseAll(came[other])
				return came[way], nil
			}
		}
	}
}

func (a *acceptor) acceptUnix(ctx context.Context, l *net.UnixListener) {
	for {
		sock, err := l.AcceptUnix()
		if err != nil {
			a.fail(ctx, err)
			return
		}
		c, err := overUnix(sock)
		if err != nil {
			_ = sock.Close()
			a.fail(ctx, err)
			return
		}
		a.arrived(ctx, arrival{c, false})
	}
}

func (a *acceptor) acceptTLS(ctx context.Context, l *net.TCPListener, config *tls.Config) {
	slots := make(chan struct{}, maxHandshakes)
	for {
		sock, err := l.AcceptTCP()
		if err != nil {
			a.fail(ctx, err)
			return
		}
		select {
		case slots <- struct{}{}:
		default: // a flood of strangers
			_ = sock.Close()
			continue
		}
		a.running.Go(func() {
			defer func() { <-slots }()
			c, err := handshake(ctx, sock, func(c net.Conn) *tls.Conn { return tls.Server(c, config) })
			if err == nil {
				a.arrived(ctx, arrival{c, true})
			}
		})
	}
}

func (a *acceptor) arrived(ctx context.Context, c arrival) {
	select {
	case a.conns <- c:
	case <-ctx.Done():
		_ = c.conn.Close()
	}
}

// fail reports a listener's end, unless it was closed on purpose.
func (a *acceptor) fail(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		a.failed <- fmt.Errorf("waiting for connections: %w", err)
	}
}
