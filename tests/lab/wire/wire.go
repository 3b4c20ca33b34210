// Package wire is a cable with bad qualities: it carries Ethernet frames between
// two network interfaces, at a limited rate, with delay and loss, in user space,
// because the kernel it has to run on cannot delay packets (no netem).
//
// It sees frames only, must never look into them, and knows nothing of hosts.
package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Quality is what a wire does to frames, in each direction.
type Quality struct {
	Rate  int64         `json:"rate"`  // bits per second; 0 is no limit
	Delay time.Duration `json:"delay"` // of every frame
	Loss  float64       `json:"loss"`  // probability, 0 to 1, of losing a frame
}

// Check refuses qualities that make no sense.
func (q Quality) Check() error {
	if q.Rate < 0 || q.Rate > 1e12 || q.Delay < 0 || q.Delay > time.Minute || !(q.Loss >= 0 && q.Loss <= 1) {
		return fmt.Errorf("wire quality %+v: want a rate of at most 1 Tbit/s, a delay of at most a minute, a loss of 0 to 1", q)
	}
	return nil
}

// Wire carries frames between two interfaces until its context ends.
type Wire struct {
	quality atomic.Pointer[Quality]
	a, b    int // packet sockets

	log        *slog.Logger
	complaints atomic.Int64
}

// New opens a wire between two interfaces of the calling thread's network
// namespace. Close it by running it with a context that ends.
func New(a, b string, q Quality, log *slog.Logger) (*Wire, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	fa, err := openPort(a)
	if err != nil {
		return nil, err
	}
	fb, err := openPort(b)
	if err != nil {
		unix.Close(fa)
		return nil, err
	}
	w := &Wire{a: fa, b: fb, log: log}
	w.quality.Store(&q)
	return w, nil
}

// Set changes the quality for the frames that come from now on. Safe for
// concurrent use.
func (w *Wire) Set(q Quality) error {
	if err := q.Check(); err != nil {
		return err
	}
	w.quality.Store(&q)
	return nil
}

// Run carries frames until ctx ends, then closes the wire. Call it once.
func (w *Wire) Run(ctx context.Context) error {
	defer unix.Close(w.a)
	defer unix.Close(w.b)
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range [][2]int{{w.a, w.b}, {w.b, w.a}} {
		q := newQueue()
		g.Go(func() error { defer q.close(); return w.receive(ctx, d[0], q) })
		g.Go(func() error { return w.send(ctx, d[1], q) })
	}
	return g.Wait()
}

// receive puts frames into the queue, each with the time it comes out.
func (w *Wire) receive(ctx context.Context, fd int, out *queue) error {
	buf := make([]byte, 128<<10)
	var s shaper
	for ctx.Err() == nil {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EBADF) {
			return fmt.Errorf("wire: receive: %w", err)
		}
		if err != nil || n < vnetHeader {
			// An interface that went down, or a frame the kernel cannot describe: lost.
			w.complain("receive", err)
			continue
		}
		q := *w.quality.Load()
		if q.Loss > 0 && rand.Float64() < q.Loss {
			continue
		}
		due, ok := s.admit(time.Now(), n-vnetHeader, q)
		if !ok {
			continue
		}
		out.put(frame{due: due, data: append([]byte(nil), buf[:n]...)})
	}
	return nil
}

// send takes frames from the queue when they are due.
func (w *Wire) send(ctx context.Context, fd int, in *queue) error {
	for {
		f, ok := in.take()
		if !ok || ctx.Err() != nil {
			return nil
		}
		// The runtime's timers are too coarse for this when a program is idle.
		if d := time.Until(f.due); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil) // woken early: a frame comes early, once
		}
		if _, err := unix.Write(fd, f.data); err != nil {
			if errors.Is(err, unix.EBADF) {
				return fmt.Errorf("wire: send: %w", err)
			}
			w.complain("send", err) // lost, as on any wire
		}
	}
}

// maxComplaints bounds what a wire logs of frames the kernel refused.
const maxComplaints = 20

func (w *Wire) complain(what string, err error) {
	if w.complaints.Add(1) <= maxComplaints {
		w.log.Warn("wire: frame lost by the kernel", "on", what, "error", err)
	}
	time.Sleep(100 * time.Microsecond) // an interface may stay down for long
}

// shaper decides when each frame of one direction comes out.
type shaper struct {
	free time.Time // when the transmitter has sent all it was given
	last time.Time // when the last frame comes out
}

// QueueTime is how much a rate-limited transmitter buffers, and QueueMin what
// it buffers at least, in bytes.
const (
	QueueTime = 50 * time.Millisecond
	QueueMin  = 256 << 10
)

// admit returns when a frame of n bytes comes out at the other end, or false if
// the buffer before the transmitter is full. Frames never overtake each other.
func (s *shaper) admit(now time.Time, n int, q Quality) (time.Time, bool) {
	sent := now
	if q.Rate > 0 {
		if s.free.Before(now) {
			s.free = now
		}
		room := max(QueueTime, duration(QueueMin, q.Rate))
		if s.free.Sub(now) > room {
			return time.Time{}, false
		}
		s.free = s.free.Add(duration(n, q.Rate))
		sent = s.free
	}
	due := sent.Add(q.Delay)
	if due.Before(s.last) {
		due = s.last
	}
	s.last = due
	return due, true
}

// duration is how long n bytes take at a rate in bits per second.
func duration(n int, rate int64) time.Duration {
	return time.Duration(float64(n) * 8 / float64(rate) * float64(time.Second))
}

type frame struct {
	due  time.Time
	data []byte
}

// maxQueued bounds the memory of a direction; what comes on top is lost.
const maxQueued = 256 << 20

// queue hands frames from a receiver to a sender.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond
	frames []frame
	bytes  int
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.more.L = &q.mu
	return q
}

func (q *queue) put(f frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(f.data) > maxQueued {
		return
	}
	q.bytes += len(f.data)
	q.frames = append(q.frames, f)
	q.more.Signal()
}

// take waits for the next frame; false when the queue is closed.
func (q *queue) take() (frame, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.frames) == 0 && !q.closed {
		q.more.Wait()
	}
	if len(q.frames) == 0 {
		return frame{}, false
	}
	f := q.frames[0]
	q.frames[0] = frame{}
	q.frames = q.frames[1:]
	q.bytes -= len(f.data)
	return f, true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}
