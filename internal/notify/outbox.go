package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"vmsync/internal/config"
)

const (
	maxWaiting = 1000 // news that wait for one destination
	maxMessage = 200  // of them in one message
)

// outbox is what waits for one destination. Its methods but run may be called from several
// goroutines.
type outbox struct {
	name string
	send func(ctx context.Context, name string, to config.Notification, news []News) error
	log  *slog.Logger
	poke chan struct{} // something has changed
	last chan struct{} // closed: send what is left once, and end

	mu      sync.Mutex
	to      config.Notification
	waiting []News
	since   time.Time // when the first of what waits came
	pace    pace
}

func newOutbox(name string, to config.Notification, o *Options) *outbox {
	return &outbox{name: name, to: to, send: o.Send, log: o.Log.With("notification", name),
		poke: make(chan struct{}, 1), last: make(chan struct{})}
}

// put adds news. What is too much goes, the oldest first.
func (o *outbox) put(n News) {
	o.mu.Lock()
	if len(o.waiting) == 0 {
		o.since = time.Now()
	}
	dropped := o.keep(append(o.waiting, n))
	o.mu.Unlock()
	o.drop("too many wait", dropped)
	o.wake()
}

// keep keeps what is not too much waiting, and returns the rest.
func (o *outbox) keep(all []News) (over []News) {
	n := max(0, len(all)-maxWaiting)
	over, o.waiting = all[:n:n], all[n:]
	return over
}

// change takes over another configuration, and has what was not taken tried with it.
func (o *outbox) change(to config.Notification) {
	o.mu.Lock()
	o.to = to
	if o.pace.failures > 0 {
		o.pace = pace{}
	}
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.poke <- struct{}{}:
	default:
	}
}

// run sends what waits until last is closed, and then once what is left. When ctx ends
// nothing is sent any more.
func (o *outbox) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Stop()
		if at, some := o.next(); some {
			timer.Reset(time.Until(at))
		}
		select {
		case <-timer.C:
			o.attempt(ctx)
		case <-o.poke:
		case <-o.last:
			for ctx.Err() == nil && o.attempt(ctx) {
			}
			o.drop("the service ends, or the configuration has the destination no more", o.take(maxWaiting))
			return
		}
	}
}

// next is when to send what waits.
func (o *outbox) next() (at time.Time, some bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pace.next(o.since), len(o.waiting) > 0
}

// take takes the oldest of what waits.
func (o *outbox) take(most int) []News {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(most, len(o.waiting))
	taken := o.waiting[:n:n]
	o.waiting = o.waiting[n:]
	return taken
}

// attempt sends the oldest of what waits. It tells whether more may be sent now.
func (o *outbox) attempt(ctx context.Context) bool {
	o.drop("nobody took it for a day", o.stale(time.Now()))
	news := o.take(maxMessage)
	if len(news) == 0 {
		return false
	}
	o.mu.Lock()
	to := o.to
	o.mu.Unlock()
	err := o.send(ctx, o.name, to, news)
	if partly := (*PartlyError)(nil); errors.As(err, &partly) {
		o.log.Warn("notification sent in part: "+line(err.Error()), "events", len(news))
		err = nil
	}
	if err == nil {
		o.log.Info("notification sent", "events", len(news))
		o.mu.Lock()
		o.pace = o.pace.sent(time.Now())
		o.mu.Unlock()
		return true
	}
	o.putBack(news, err)
	return false
}

// stale takes what has waited for too long.
func (o *outbox) stale(now time.Time) []News {
	o.mu.Lock()
	n := 0
	for n < len(o.waiting) && now.Sub(o.waiting[n].Time) > maxAge {
		n++
	}
	o.mu.Unlock()
	return o.take(n)
}

// putBack keeps news that were not taken for the next attempt, if there is to be one.
func (o *outbox) putBack(news []News, err error) {
	refused := (*RefusedError)(nil)
	o.mu.Lock()
	p, giveUp := o.pace.failed(time.Now(), errors.As(err, &refused))
	o.pace = p
	var over []News
	if !giveUp {
		over = o.keep(append(news, o.waiting...))
	}
	o.mu.Unlock()
	o.log.Warn("notification failed: "+line(err.Error()), "events", len(news), "attempt", p.failures, "next", time.Until(p.free).Round(time.Second))
	o.drop("too many wait", over)
	if giveUp {
		o.drop("it was refused each time", news)
	}
}

// drop tells the log of news that nobody is told of.
func (o *outbox) drop(why string, news []News) {
	for _, n := range news {
		o.log.Error("notification given up: "+why, "DOMAIN", n.Domain, "SOURCE", n.Source, "event", n.Event, "message", n.Message, "time", n.Time.Format(time.RFC3339))
	}
}
