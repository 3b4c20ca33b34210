package link

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a socket that collects what is written until it is flushed, and knows how
// long it has waited for the other end.
type wire struct {
	net.Conn
	raw     syscall.RawConn
	buf     []byte // written and not yet sent; of no capacity, everything is sent at once
	stalled *atomic.Int64
}

// bulk is how much a wire under TLS collects: encryption makes records of 16 KiB,
// and one system call for each would cost more than the encryption.
const bulk = 256 << 10

func newWire(c net.Conn, stalled *atomic.Int64) (*wire, error) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, raw: raw, stalled: stalled}, nil
}

// collect makes the wire collect from now on.
func (w *wire) collect() { w.buf = make([]byte, 0, bulk) }

func (w *wire) Write(p []byte) (int, error) {
	if len(w.buf)+len(p) <= cap(w.buf) {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if len(p) <= cap(w.buf) {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	return w.send(p)
}

// Flush sends what was collected.
func (w *wire) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// send writes all of p. It does what a net.Conn's Write does, and sees when that
// waits.
func (w *wire) send(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		var n int
		var err error
		var full time.Time // since when the socket takes no more
		rawErr := w.raw.Write(func(fd uintptr) bool {
			if !full.IsZero() {
				w.stalled.Add(int64(time.Since(full)))
			}
			for {
				n, err = unix.Write(int(fd), p[sent:])
				switch err {
				case unix.EINTR:
					continue
				case unix.EAGAIN:
					full = time.Now()
					return false
				}
				return true
			}
		})
		if rawErr != nil {
			return sent, rawErr
		}
		if err != nil {
			return sent, &net.OpError{Op: "write", Net: w.LocalAddr().Network(), Addr: w.RemoteAddr(), Err: err}
		}
		sent += n
	}
	return sent, nil
}
