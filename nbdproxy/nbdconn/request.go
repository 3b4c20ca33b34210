package nbdconn

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
	"libguestfs.org/libnbd"
)

// RequestError is one request that the server, or libnbd in its stead, refused.
// The connection lives.
type RequestError struct {
	Op    string
	Errno unix.Errno // as the server said it
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("the NBD server refused to %s: %v", e.Op, e.Errno)
}

// Unwrap makes errors.Is and errors.As see the errno.
func (e *RequestError) Unwrap() error { return e.Errno }

// ReadAt fills p, at least one byte and at most what [Shared.Sizes] allows, from
// offset. After an error p may hold anything.
func (s *Shared) ReadAt(p []byte, offset int64) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&p[0])
	err := s.read(p, offset, s.conn.onePiece)
	if errors.Is(err, unix.EOVERFLOW) && s.conn.onePiece {
		err = s.read(p, offset, false) // a server may find this too long for one piece
	}
	return err
}

func (s *Shared) read(p []byte, offset int64, onePiece bool) error {
	return s.do("read", func(*libnbd.Libnbd) (uint64, error) { return s.conn.startRead(buffer(p), uint64(offset), onePiece) })
}

// WriteAt writes p to offset, under the bounds of [Shared.ReadAt].
func (s *Shared) WriteAt(p []byte, offset int64) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&p[0])
	return s.do("write", func(h *libnbd.Libnbd) (uint64, error) { return h.AioPwrite(buffer(p), uint64(offset), nil) })
}

// Zero makes length bytes, at most 2^32-1, read as zeros.
func (s *Shared) Zero(offset, length int64, flags ZeroFlags) error {
	opt := libnbd.AioZeroOptargs{FlagsSet: true}
	if flags&NoHole != 0 {
		opt.Flags |= libnbd.CMD_FLAG_NO_HOLE
	}
	if flags&Fast != 0 {
		opt.Flags |= libnbd.CMD_FLAG_FAST_ZERO
	}
	return s.do("zero", func(h *libnbd.Libnbd) (uint64, error) { return h.AioZero(uint64(length), uint64(offset), &opt) })
}

// ZeroFlags of [Shared.Zero].
type ZeroFlags uint8

// The flags.
const (
	NoHole ZeroFlags = 1 << iota // keep the range allocated
	Fast                         // fail with ENOTSUP rather than be as slow as a write
)

// Trim tells the server that length bytes, at most 2^32-1, are no longer needed.
func (s *Shared) Trim(offset, length int64) error {
	return s.do("trim", func(h *libnbd.Libnbd) (uint64, error) { return h.AioTrim(uint64(length), uint64(offset), nil) })
}

// Cache tells the server that a range will soon be read; it is bounded as a read is.
func (s *Shared) Cache(offset, length int64) error {
	return s.do("cache", func(h *libnbd.Libnbd) (uint64, error) { return h.AioCache(uint64(length), uint64(offset), nil) })
}

// Flush waits until what was written is on stable storage.
func (s *Shared) Flush() error {
	return s.do("flush", func(h *libnbd.Libnbd) (uint64, error) { return h.AioFlush(nil) })
}

// BlockStatus asks for the block status of length bytes (at most 2^32-1) at
// offset in one of the contexts that the connection was made with. The entries
// begin at offset and may cover less or more than was asked for. One asks for the first entry alone.
func (s *Shared) BlockStatus(metaContext string, offset, length int64, one bool) ([]Status, error) {
	var got []Status
	var bad error
	// Called by whoever runs libnbd, under mu; the reply's channel orders it before
	// what follows here.
	extent := func(name string, at uint64, entries []uint32, _ *int) int {
		if name == metaContext {
			if got != nil || at != uint64(offset) {
				bad = fmt.Errorf("context %q: reply for offset %d to a question about %d", name, at, offset)
			}
			got, bad = parseStatus(entries, bad)
		}
		return 0
	}
	opt := libnbd.AioBlockStatusOptargs{FlagsSet: one, Flags: libnbd.CMD_FLAG_REQ_ONE}
	err := s.do("tell its block status", func(h *libnbd.Libnbd) (uint64, error) {
		return h.AioBlockStatus(uint64(length), uint64(offset), extent, &opt)
	})
	if err == nil && bad == nil && len(got) == 0 {
		bad = fmt.Errorf("the reply lacks the metadata context %q", metaContext)
	}
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	return got, nil
}

// do submits a request and waits for its reply.
func (s *Shared) do(op string, submit func(h *libnbd.Libnbd) (uint64, error)) error {
	c := calls.Get().(*call)
	if err := s.submit(c, submit); err != nil {
		calls.Put(c)
		return refused(op, err)
	}
	err := <-c.done
	calls.Put(c)
	return refused(op, err)
}

// submit hands a request to libnbd, which sends it at once if the socket has room.
func (s *Shared) submit(c *call, submit func(h *libnbd.Libnbd) (uint64, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	cookie, err := submit(s.conn.h)
	if err != nil {
		return err // refused before it was sent
	}
	s.calls[cookie] = c
	s.settle(nil)
	return nil
}

// refused makes an error of libnbd's one of ours.
func refused(op string, err error) error {
	var e *libnbd.LibnbdError
	if err == nil || errors.Is(err, ErrDead) || !errors.As(err, &e) {
		return err
	}
	if e.Errno == 0 {
		return &RequestError{op, unix.EIO}
	}
	return &RequestError{op, e.Errno}
}

func buffer(p []byte) libnbd.AioBuffer {
	return libnbd.AioBuffer{P: unsafe.Pointer(&p[0]), Size: uint(len(p))}
}
