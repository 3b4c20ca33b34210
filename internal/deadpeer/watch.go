package deadpeer

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrSilent is why a watched connection was cut.
var ErrSilent = errors.New("the peer has been silent for too long: its host or the network is down")

// period is how often a connection is looked at.
const period = 5 * time.Second

// Watch cuts c when its peer has acknowledged nothing for [Limit] although data is
// on its way: then the kernel sends no keep-alive probes, and would go on sending
// data for a quarter of an hour. Reads and writes fail with [ErrSilent] from then on. Closing
// the returned connection, which is c, ends the watch.
func Watch(c *net.TCPConn) (net.Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &watched{TCPConn: c, stop: make(chan struct{}), ended: make(chan struct{})}
	go w.watch(raw)
	return w, nil
}

// watched is a connection under watch.
type watched struct {
	*net.TCPConn
	once  sync.Once
	stop  chan struct{} // closed by Close
	ended chan struct{} // closed by watch

	mu     sync.Mutex
	silent bool
}

func (w *watched) watch(raw syscall.RawConn) {
	defer close(w.ended)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		var info *unix.TCPInfo
		var infoErr error
		err := raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if err != nil || infoErr != nil {
			return // closed
		}
		if dead(info) {
			w.mu.Lock()
			w.silent = true
			w.mu.Unlock()
			_ = w.TCPConn.Close()
			return
		}
	}
}

// dead decides by what the kernel knows of a connection. A peer without room for
// more acknowledges the probes of its window, whose unanswered ones are counted
// here; one probe may just be on its way, and another may have been lost.
func dead(i *unix.TCPInfo) bool {
	unanswered := i.Unacked > 0 && i.Retransmits > 0 || i.Probes > 2
	return unanswered && time.Duration(i.Last_ack_recv)*time.Millisecond >= Limit
}

// Close implements [net.Conn].
func (w *watched) Close() error {
	w.once.Do(func() { close(w.stop) })
	err := w.TCPConn.Close()
	<-w.ended
	return err
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	return n, w.explain(err)
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.TCPConn.Write(p)
	return n, w.explain(err)
}

func (w *watched) explain(err error) error {
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent {
		return ErrSilent
	}
	return err
}
