package nbdproxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// pipes is a listener whose connections have no buffers: a byte that the server
// has sent is one that the client has read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// pipe is a server that is reached through pipes.
type pipe struct {
	*Server
	listener *pipes
	wrap     func(net.Conn) net.Conn // of the server's ends; may be nil
}

func servePipe(t testing.TB, c Config) *pipe {
	t.Helper()
	if c.Limits.HandshakeTime == 0 {
		c.Limits.HandshakeTime = time.Hour
	}
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{Server: s, listener: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, p.listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return p
}

func (p *pipe) dial(t testing.TB) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	if p.wrap != nil {
		theirs = p.wrap(theirs)
	}
	p.listener.conns <- theirs
	return &client{t: t, conn: ours}
}

func (p *pipe) transmit(t testing.TB, structured bool) *client {
	t.Helper()
	c := p.dial(t)
	c.greet(3)
	if structured {
		c.structured()
	}
	c.goTo("")
	return c
}
