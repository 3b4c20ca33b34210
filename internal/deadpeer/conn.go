package deadpeer

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrSilent is why a connection was cut.
var ErrSilent = errors.New("the peer has been silent for too long: its host or the network is down")

// Cut is c under a [Watch] that cuts it when its peer is dead: reads and writes fail
// with [ErrSilent] from then on. Closing the returned connection closes c and ends the
// watch.
func Cut(c *net.TCPConn) (net.Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &watched{TCPConn: c}
	w.stop = Watch(context.Background(), []syscall.RawConn{raw}, func(int, time.Duration) {
		w.silent.Store(true)
		_ = w.TCPConn.Close()
	})
	return w, nil
}

// watched is a connection under watch.
type watched struct {
	*net.TCPConn
	stop   func()
	silent atomic.Bool
}

// Close implements [net.Conn].
func (w *watched) Close() error {
	err := w.TCPConn.Close()
	w.stop()
	return err
}

// Read implements [net.Conn].
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	return n, w.explain(err)
}

// Write implements [net.Conn].
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.TCPConn.Write(p)
	return n, w.explain(err)
}

func (w *watched) explain(err error) error {
	if err != nil && w.silent.Load() {
		return ErrSilent
	}
	return err
}
