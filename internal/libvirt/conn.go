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
	"errors"
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
	// closeFor is how long Close waits for libvirtd's good-bye.
	closeFor = 2 * time.Second
)

// Conn is a connection to this host's libvirt. It is safe for several goroutines.
type Conn struct {
	connect func() (*lv.Connect, error)
	limit   time.Duration // of each call

	// opening is held by who opens the connection, which may hang.
	opening sync.Mutex

	mu     sync.Mutex  // never held while libvirt is asked
	raw    *lv.Connect // nil after Close, or while libvirtd is away
	closed bool
}

// Open connects to qemu:///system.
func Open(ctx context.Context) (*Conn, error) {
	c := &Conn{connect: func() (*lv.Connect, error) { return lv.NewConnect(systemURI) }, limit: callLimit}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Conn) open(ctx context.Context) error {
	_, err := call(ctx, c, "connect to libvirt", "", once, func(*lv.Connect) (struct{}, error) {
		return struct{}{}, nil
	})
	if err != nil {
		c.Close() // a libvirtd that answers after all finds nobody
	}
	return err
}

// Close closes the connection. Calls made later fail with ErrDisconnected. A libvirtd that
// hangs does not hold it up for long.
func (c *Conn) Close() {
	c.mu.Lock()
	raw := c.raw
	c.raw, c.closed = nil, true
	c.mu.Unlock()
	if raw == nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		drop(raw)
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(closeFor):
	}
}

// drop gives up a reference to a raw connection.
func drop(raw *lv.Connect) {
	// The result is a reference count, the error that of a connection which is gone anyway.
	_, _ = raw.Close()
}

// acquire returns the raw connection with a reference of its own, opening it if
// need be. The caller closes it.
func (c *Conn) acquire() (*lv.Connect, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if raw, err := c.opened(); raw != nil || err != nil {
		return raw, err
	}
	raw, err := c.connect()
	if err != nil {
		return nil, err
	}
	kept, err := c.keep(raw)
	if !kept {
		drop(raw)
		return nil, errClosed
	}
	return raw, err
}

// keep makes a raw connection that of the calls to come, and takes a reference for the
// first, unless nobody wants one any more.
func (c *Conn) keep(raw *lv.Connect) (kept bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, nil
	}
	c.raw = raw
	return true, raw.Ref()
}

// opened returns the raw connection with a reference of its own, or nil if it is to be
// opened. One that is broken it drops.
func (c *Conn) opened() (*lv.Connect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.raw == nil {
		return nil, nil
	}
	if alive, err := c.raw.IsAlive(); err != nil || !alive {
		drop(c.raw) // there is nobody to say good-bye to, and so to wait for
		c.raw = nil
		return nil, nil
	}
	return c.raw, c.raw.Ref()
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
var errHangs = errors.New("libvirtd there, or the domain's qemu, hangs")

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
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("libvirt has not answered for %s: %w", c.limit, errHangs))
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
	if errors.Is(e.Err, errHangs) {
		e.Kind = ErrDisconnected
	}
	return e
}
