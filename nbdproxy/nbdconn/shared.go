package nbdconn

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
	"libguestfs.org/libnbd"
)

// Shared is a connection that any number of goroutines use at once: each method
// is one request and returns with its reply. Requests do not wait for one another,
// and one that fails leaves the others alone; only a dead connection ends all.
//
// A request cannot be cancelled: the server may write into its buffer until the
// reply is there. Cancelling the context given to [DialShared] cuts the connection
// and so ends every request.
type Shared struct {
	conn     *Conn
	features Features
	sizes    Sizes
	has      map[string]bool // the optional contexts that the server has
	cause    func(error) error
	wg       sync.WaitGroup // the two goroutines that wait for the socket

	mu     sync.Mutex // guards the handle and what follows
	calls  map[uint64]*call
	err    error         // why the connection is dead; nil while it lives
	full   chan struct{} // holds one element when the socket was too full to take a request
	closed chan struct{} // closed when the connection is dead
}

// call is a request that waits for its reply.
type call struct {
	done chan error // takes one element
}

var calls = sync.Pool{New: func() any { return &call{make(chan error, 1)} }}

// ErrDead is wrapped by every error of a request that failed because the
// connection is dead, with the reason.
var ErrDead = errors.New("the connection to the NBD server is gone")

// DialShared connects as [Dial] does.
func DialShared(ctx context.Context, o Options) (*Shared, error) {
	c, err := Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Shared{
		conn:  c,
		has:   make(map[string]bool),
		calls: make(map[uint64]*call),
		cause: func(err error) error { return cause(ctx, err) },
		full:  make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if err := s.prepare(o.Optional); err != nil {
		c.kill()
		return nil, fmt.Errorf("connecting to NBD export %q at %s: %w", o.Export, o.server(), err)
	}
	s.wg.Go(s.receive)
	s.wg.Go(s.transmit)
	return s, nil
}

// prepare asks for what is known from the handshake.
func (s *Shared) prepare(optional []string) error {
	var err error
	if s.features, err = s.conn.Features(); err != nil {
		return err
	}
	if s.sizes, err = s.conn.Sizes(); err != nil {
		return err
	}
	for _, name := range optional {
		if s.has[name], err = s.conn.Has(name); err != nil {
			return err
		}
	}
	return nil
}

// Close says goodbye to the server and waits until the connection is gone.
// Requests under way fail with [ErrDead].
func (s *Shared) Close() {
	s.mu.Lock()
	if s.err == nil && len(s.calls) == 0 {
		_ = s.conn.h.AioDisconnect(nil)
	}
	s.mu.Unlock()
	s.conn.shutdown()
	s.wg.Wait()
	s.conn.kill()
}

// Dead is closed when the connection is; [Shared.Err] tells why.
func (s *Shared) Dead() <-chan struct{} { return s.closed }

// Err is why the connection is dead, wrapping [ErrDead], or nil.
func (s *Shared) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Size is the export's size in bytes.
func (s *Shared) Size() int64 { return s.conn.size }

// Features are what the server says about the export.
func (s *Shared) Features() Features { return s.features }

// Has tells whether the server has one of the optional contexts.
func (s *Shared) Has(metaContext string) bool { return s.has[metaContext] }

// Sizes are the server's constraints on requests; zeros stand for none.
func (s *Shared) Sizes() Sizes { return s.sizes }

// receive takes replies until the connection is dead.
func (s *Shared) receive() {
	err := s.conn.raw.Read(s.readable)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.die(err)
}

// readable takes what has come. Its result is whether to stop waiting for more.
// The poller tells of changes and not of levels, so as long as something is there
// it must not wait.
func (s *Shared) readable(fd uintptr) (stop bool) {
	for pollable(fd, unix.POLLIN) {
		s.mu.Lock()
		before := len(s.calls)
		if s.err == nil {
			err := s.conn.h.AioNotifyRead()
			s.settle(err)
		}
		stop = s.err != nil
		answered := len(s.calls) < before
		s.mu.Unlock()
		if stop {
			return true
		}
		if answered {
			// Who has waited for this reply goes on first, on this processor, whose
			// cache holds it.
			runtime.Gosched()
		}
	}
	return false
}

// transmit sends on what the socket had no room for, until the connection is dead.
func (s *Shared) transmit() {
	for {
		select {
		case <-s.closed:
			return
		case <-s.full:
		}
		// An error of the poller is one for receive as well.
		_ = s.conn.raw.Write(s.writable)
	}
}

func (s *Shared) writable(fd uintptr) (stop bool) {
	for pollable(fd, unix.POLLOUT) {
		s.mu.Lock()
		if stop = s.err != nil || !s.wantsWrite(); !stop {
			err := s.conn.h.AioNotifyWrite()
			s.settle(err)
		}
		s.mu.Unlock()
		if stop {
			return true
		}
	}
	return false
}

// wantsWrite tells whether libnbd has something to send. The caller holds mu.
func (s *Shared) wantsWrite() bool {
	dir, err := s.conn.h.AioGetDirection()
	return err == nil && uint32(dir)&libnbd.AIO_DIRECTION_WRITE != 0
}

// settle draws the consequences of a call of libnbd's that may have moved the
// connection: requests that have ended are told so, a dead connection is buried.
// The caller holds mu; err is what that call returned, if its failure is the connection's.
func (s *Shared) settle(err error) {
	dir, dirErr := s.conn.h.AioGetDirection()
	if err != nil || dirErr != nil || dir == 0 {
		if err = errors.Join(err, dirErr); err == nil {
			err = errors.New("the server closed it")
		}
		s.die(err)
		return
	}
	s.reap()
	if uint32(dir)&libnbd.AIO_DIRECTION_WRITE != 0 {
		select {
		case s.full <- struct{}{}:
		default: // transmit knows
		}
	}
}

// reap tells requests that have their reply.
func (s *Shared) reap() {
	for len(s.calls) > 0 {
		cookie, err := s.conn.h.AioPeekCommandCompleted()
		if err != nil || cookie == 0 {
			return
		}
		_, err = s.conn.h.AioCommandCompleted(cookie)
		if c := s.calls[cookie]; c != nil {
			delete(s.calls, cookie)
			c.done <- err
		}
	}
}

// die ends all requests. The caller holds mu.
func (s *Shared) die(err error) {
	if s.err != nil {
		return
	}
	if err == nil {
		err = errors.New("it ended")
	}
	s.err = fmt.Errorf("%w: %w", ErrDead, s.cause(err))
	// Only after this does libnbd touch no buffer any more. The socket stays until
	// nobody waits for it; shut down, it wakes who does.
	s.conn.free()
	s.conn.shutdown()
	close(s.closed)
	for cookie, c := range s.calls {
		delete(s.calls, cookie)
		c.done <- s.err
	}
}
