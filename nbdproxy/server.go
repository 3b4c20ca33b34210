package nbdproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what a server offers and to whom. The server keeps what it refers to;
// it must not change any more.
type Config struct {
	// Exports are what clients can ask for, by name. The first one is the default: it
	// answers to the empty name as well.
	Exports []Export
	// TLS, if not nil, is required of every client, by STARTTLS. Who is let in is
	// its business: client certificates are asked for and checked as it says.
	TLS *tls.Config
	// Log is told of connections, at level debug, and of what goes wrong with them. Nil
	// stands for none.
	Log    *slog.Logger
	Limits Limits
}

// Server is an NBD server. Its methods may be called by several goroutines at once.
type Server struct {
	exports    []*export
	tls        *tls.Config
	log        *slog.Logger
	limits     Limits
	places     *places
	handshakes chan struct{} // holds one for each that is going on
	buffers    buffers
	scratch    scratch
}

// NewServer checks a configuration and makes a server of it. The exports' backends
// stay their owner's, who closes them after the last Serve has returned.
func NewServer(c Config) (*Server, error) {
	exports, err := newExports(c.Exports)
	if err != nil {
		return nil, fmt.Errorf("NBD server: %w", err)
	}
	l := c.Limits.withDefaults()
	for _, x := range exports {
		if n := guaranteeFor(x, false); n > l.ConnectionMemory {
			return nil, fmt.Errorf("NBD server: limits: a request to export %q takes %d bytes, %d are too few for a connection", x.Name, n, l.ConnectionMemory)
		}
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("NBD server: %w", err)
	}
	s := &Server{
		exports:    exports,
		log:        c.Log,
		limits:     l,
		places:     newPlaces(l),
		handshakes: make(chan struct{}, l.Handshakes),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.TLS != nil {
		s.tls = c.TLS.Clone()
		// Records that start small help a web page; here they cost system calls.
		s.tls.DynamicRecordSizingDisabled = true
	}
	return s, nil
}

// Serve answers the clients that l brings. When ctx ends it closes l and all
// connections it brought, and returns nil. If l fails first, Serve answers the clients it
// has until they or ctx end, and returns l's error. In either case it returns only
// after all its connections have ended, and after the last call of a backend for them.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := accept(ctx, l)
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			l.Close()
			return nil
		}
		if err != nil {
			l.Close()
			s.log.Error("no more clients are accepted", "address", l.Addr().String(), "error", err)
			return fmt.Errorf("accepting NBD clients at %s: %w", l.Addr(), err)
		}
		select {
		case s.handshakes <- struct{}{}:
			connections.Go(func() { s.serve(ctx, conn) })
		default:
			s.log.Debug("client refused: too many handshakes at once", "client", conn.RemoteAddr().String())
			conn.Close()
		}
	}
}

// accept waits for a client, and lets the shortages pass that do.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		conn, err := l.Accept()
		if err == nil || !passes(err) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// passes tells whether a listener that failed so may work again later.
func passes(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
