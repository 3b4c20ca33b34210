package service

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/runid"
)

// Bounds of what is kept of events.
const (
	mostPast  = 200 // for those who begin to listen
	mostQueue = 500 // for one who is slow
)

// events passes what happens on to those who listen. Its methods may be called from several
// goroutines, and never wait for a listener.
type events struct {
	mu        sync.Mutex
	service   string // tells the ids of this service's events apart from others'
	told      int
	past      []api.Event // the newest last
	listeners map[*Listener]bool
	ended     bool
}

// tell adds an event.
func (n *events) tell(e api.Event) {
	e.Time = time.Now().Round(0)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	if n.service == "" {
		n.service = runid.New()
	}
	n.told++
	e.ID = fmt.Sprintf("%s-%d", n.service, n.told)
	n.past = append(n.past[max(0, len(n.past)-mostPast+1):], e)
	for l := range n.listeners {
		if len(l.queue) == mostQueue {
			l.queue = l.queue[1:]
			l.missed++
		}
		l.queue = append(l.queue, e)
		l.notify()
	}
}

// end says that nothing happens any more.
func (n *events) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	for l := range n.listeners {
		l.notify()
	}
}

// Listener hears what happens. Who is too slow misses the oldest events that it has not
// taken yet, and is told how many those were.
type Listener struct {
	events *events
	queue  []api.Event // this and missed belong to news.mu
	missed int
	wake   chan struct{} // has room for one
}

// Listen begins to listen. The first events are those that happened last, at most so many,
// and of these only those after the one with an id, if that is still known.
func (s *Service) Listen(last int, after string) *Listener {
	n := &s.events
	l := &Listener{events: n, wake: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	heard := slices.IndexFunc(n.past, func(e api.Event) bool { return e.ID == after }) + 1
	l.queue = slices.Clone(n.past[max(0, heard, len(n.past)-last):])
	if n.listeners == nil {
		n.listeners = map[*Listener]bool{}
	}
	n.listeners[l] = true
	return l
}

// Close ends listening. It must be called.
func (l *Listener) Close() {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	delete(l.events.listeners, l)
}

func (l *Listener) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Next waits for the next event; false after the service's end, or when ctx ends. One
// goroutine at a time may call it.
func (l *Listener) Next(ctx context.Context) (api.Event, bool) {
	for {
		e, ok, ended := l.take()
		if ok || ended {
			return e, ok
		}
		select {
		case <-ctx.Done():
			return api.Event{}, false
		case <-l.wake:
		}
	}
}

func (l *Listener) take() (e api.Event, ok, ended bool) {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	switch {
	case l.missed > 0:
		e = api.Event{Event: api.EventMissed, Time: time.Now().Round(0), Missed: l.missed}
		l.missed = 0
		return e, true, false
	case len(l.queue) > 0:
		e, l.queue = l.queue[0], l.queue[1:]
		return e, true, false
	}
	return e, false, l.events.ended
}
