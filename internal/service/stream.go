package service

import (
	"context"
	"slices"
	"sync"

	"vmsync/internal/event"
)

// stream is a queue of events for somebody who may be slow: of progress that nobody has
// taken yet only the newest of each disk is kept. Its methods may be called from several
// goroutines.
type stream struct {
	mu    sync.Mutex
	queue []event.Event
	ended bool
	wake  chan struct{} // has room for one
}

func newStream() *stream { return &stream{wake: make(chan struct{}, 1)} }

// Emit implements [event.Sink].
func (s *stream) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if p, ok := e.(event.Progress); ok && s.replace(p) {
		return
	}
	s.queue = append(s.queue, e)
	s.notify()
}

// replace puts progress in the place of older progress of the same phase and disk.
func (s *stream) replace(p event.Progress) bool {
	for i, e := range slices.Backward(s.queue) {
		old, ok := e.(event.Progress)
		if !ok {
			return false
		}
		if old.Disk == p.Disk {
			s.queue[i] = p
			return true
		}
	}
	return false
}

// end says that nothing comes any more.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.notify()
}

func (s *stream) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next waits for the next event; false after the last, or when ctx ends. One goroutine
// at a time may call it.
func (s *stream) next(ctx context.Context) (event.Event, bool) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return e, true
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return nil, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-s.wake:
		}
	}
}
