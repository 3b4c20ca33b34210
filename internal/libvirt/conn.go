// Package libvirt is a thin, typed layer over the libvirt calls that the two ends
// of a sync need. It talks to qemu:///system of its own host and to nothing else.
//
// It adds three things to libvirt.org/go/libvirt. Every call takes a context.
// Errors are classified by libvirt's error codes, never by their texts, which are
// translated ([Error], and the Err sentinels for errors.Is). A connection that
// libvirtd closed, as on its restart, is opened again by the next call, so that
// values of this package stay usable for as long as a sync lasts.
//
// Libvirt cannot interrupt a call. When a context ends, the method returns at once
// and the call goes on in a goroutine of its own until libvirt answers; whatever it
// was asked to do may still happen. A caller that gives up on a changing call must
// look at what is there before it goes on. Close does not wait for such calls.
//
// The package must never decide what to do about an error, and never begin or end
// anything that it was not asked to.
package libvirt

import (
	"context"
	"fmt"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"
)

const (
	systemURI = "qemu:///system"
	// reopenFor is how long reading calls wait for a libvirtd that went away.
	// systemd brings it back within 2 s.
	reopenFor   = 10 * time.Second
	reopenPause = 300 * time.Millisecond
)

// Conn is a connection to this host's libvirt. It is safe for several goroutines.
type Conn struct {
	mu     sync.Mutex
	raw    *lv.Connect // nil after Close, or while libvirtd is away
	closed bool
}

// Open connects to qemu:///system.
func Open(ctx context.Context) (*Conn, error) {
	c := new(Conn)
	_, err := call(ctx, c, "connect to libvirt", "", once, func(*lv.Connect) (struct{}, error) {
		return struct{}{}, nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connection. Calls made later fail with ErrDisconnected.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.drop()
}

// drop forgets the raw connection; mu is held.
func (c *Conn) drop() {
	if c.raw != nil {
		// The result is a reference count, the error that of a connection which is
		// gone anyway.
		_, _ = c.raw.Close()
		c.raw = nil
	}
}

// acquire returns the raw connection with a reference of its own, opening it if
// need be. The caller closes it.
func (c *Conn) acquire() (*lv.Connect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.raw != nil {
		if alive, err := c.raw.IsAlive(); err != nil || !alive {
			c.drop()
		}
	}
	if c.raw == nil {
		raw, err := lv.NewConnect(systemURI)
		if err != nil {
			return nil, err
		}
		c.raw = raw
	}
	if err := c.raw.Ref(); err != nil {
		return nil, err
	}
	return c.raw, nil
}

// mode says whether a call may be made again when libvirtd went away under it.
type mode bool

const (
	once mode = false // it changes something: the caller has to look
	// again is for calls that read, or that may as well be done twice.
	again mode = true
)

// callLimit bounds every call: libvirtd, or a qemu that it asks, may hang for ever. Nothing
// that this package asks for takes a minute where all is well.
const callLimit = 5 * time.Minute

// errHangs is why a call was given up.
var errHangs = fmt.Errorf("libvirt has not answered for %s: libvirtd there, or the domain's qemu, hangs", callLimit)

// call runs f with the raw connection and waits for its end or the context's. f
// must hand its result back only by returning it: it may run on after call returned.
func call[T any](ctx context.Context, c *Conn, op, domain string, m mode, f func(*lv.Connect) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
		lost  bool
	}
	attempt := func() (r result) {
		raw, err := c.acquire()
		if err != nil {
			return result{err: err, lost: true}
		}
		defer raw.Close()
		r.value, r.err = f(raw)
		if r.err != nil {
			alive, err := raw.IsAlive()
			r.lost = err != nil || !alive
		}
		return r
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errHangs)
	defer cancel()
	var none T
	deadline := time.Now().Add(reopenFor)
	for {
		if ctx.Err() != nil {
			return none, gaveUp(ctx, op, domain)
		}
		done := make(chan result, 1)
		go func() { done <- attempt() }()
		var r result
		select {
		case <-ctx.Done():
			return none, gaveUp(ctx, op, domain)
		case r = <-done:
		}
		if r.err == nil {
			return r.value, nil
		}
		if !r.lost || m == once || time.Now().After(deadline) || r.err == errClosed {
			return none, newError(op, domain, r.err, r.lost)
		}
		pause := time.NewTimer(reopenPause)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// gaveUp is the error of a call whose context has ended.
func gaveUp(ctx context.Context, op, domain string) *Error {
	e := &Error{Op: op, Domain: domain, Err: context.Cause(ctx)}
	if e.Err == errHangs {
		e.Kind = ErrDisconnected
	}
	return e
}
