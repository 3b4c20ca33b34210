// Package link is the connections that carry a stream: unix sockets, behind which
// somebody relays it, or TLS over TCP straight from host to host.
//
// A stream's bytes are the same over each. What is different is how one is made,
// how it is ended and how the death of its other end is noticed, and that is what
// this package hides. It must never accept or make a TCP connection that is not
// encrypted and authenticated both ways.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Conn is one connection of a stream. One goroutine may write and another read at
// the same time; Close, Interrupt and Stalled may be called by any.
type Conn struct {
	wire    *wire
	tls     *tls.Conn // nil over a unix socket
	r       io.Reader
	stalled atomic.Int64 // nanoseconds
	limit   *limit
}

// halfCloser is what both kinds of socket are.
type halfCloser interface{ CloseWrite() error }

// overUnix makes a connection of a unix socket.
func overUnix(sock *net.UnixConn) (*Conn, error) {
	c := &Conn{}
	var err error
	if c.wire, err = newWire(sock, &c.stalled); err != nil {
		return nil, err
	}
	c.r = sock
	return c, nil
}

// overTLS makes a connection of a TCP socket; handshake gives the TLS side its role.
func overTLS(ctx context.Context, sock *net.TCPConn, handshake func(net.Conn) *tls.Conn) (*Conn, error) {
	c := &Conn{}
	var err error
	if c.wire, err = newWire(sock, &c.stalled); err != nil {
		return nil, err
	}
	c.tls = handshake(bulkReader{c.wire, sock})
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.wire.collect()
	c.r = c.tls
	return c, nil
}

// bulkReader is a wire whose bytes are read in large pieces.
type bulkReader struct {
	*wire
	r net.Conn
}

func (b bulkReader) Read(p []byte) (int, error) { return b.r.Read(p) }

// Read implements io.Reader. An end of the stream is io.EOF only if the other end
// meant it.
func (c *Conn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write writes to the connection, which may keep it back until Flush.
func (c *Conn) Write(p []byte) (int, error) {
	if c.limit != nil {
		return c.limit.write(c, p)
	}
	return c.write(p)
}

func (c *Conn) write(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.wire.Write(p)
}

// Flush sends what Write kept back.
func (c *Conn) Flush() error { return c.wire.Flush() }

// Stalled is how long writers have waited for the other end to take something, or
// for the rate limit.
func (c *Conn) Stalled() time.Duration { return time.Duration(c.stalled.Load()) }

// CloseWrite tells the other end that nothing more comes.
func (c *Conn) CloseWrite() error {
	err := c.Flush()
	if c.tls != nil {
		// After its goodbye, TLS lets nothing be written any more, not even what the
		// wire would have collected.
		c.wire.buf = nil
		err = errors.Join(err, c.tls.CloseWrite())
	}
	return errors.Join(err, c.wire.Conn.(halfCloser).CloseWrite())
}

// Interrupt ends every wait of a reader or writer, now and later.
func (c *Conn) Interrupt() { _ = c.wire.SetDeadline(time.Unix(1, 0)) }

// Close ends the connection.
func (c *Conn) Close() error { return c.wire.Close() }

// limit holds the connections of a stream to a rate.
type limit struct {
	ctx    context.Context
	bucket *rate.Limiter
}

// limitPiece is how much is written at once under a limit, in bytes: little enough
// for an even flow, and for pieces of different connections to take turns.
const limitPiece = 32 << 10

// Limit holds all of a stream's connections together to bytesPerSecond, until ctx
// ends; 0 is no limit. Call it before the first Write.
func Limit(ctx context.Context, conns []*Conn, bytesPerSecond int64) {
	if bytesPerSecond <= 0 {
		return
	}
	l := &limit{ctx: ctx, bucket: rate.NewLimiter(rate.Limit(bytesPerSecond), limitPiece)}
	for _, c := range conns {
		c.limit = l
	}
}

func (l *limit) write(c *Conn, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(limitPiece, len(p)-done)
		start := time.Now()
		if err := l.bucket.WaitN(l.ctx, n); err != nil {
			return done, context.Cause(l.ctx)
		}
		c.stalled.Add(int64(time.Since(start)))
		n, err := c.write(p[done : done+n])
		done += n
		if err != nil {
			return done, err
		}
		if err := c.Flush(); err != nil {
			return done, err
		}
	}
	return done, nil
}
