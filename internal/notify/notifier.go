package notify

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"vmsync/internal/config"
)

// Options of a notifier. Both are needed.
type Options struct {
	// Send sends news, as [Sender.Send] does. It must end when its context does.
	Send func(ctx context.Context, name string, to config.Notification, news []News) error
	Log  *slog.Logger
}

// Notifier tells all destinations of a configuration. Its methods may be called from several
// goroutines; none but Close waits for anything.
type Notifier struct {
	opts  Options
	work  context.Context // ends when nothing is sent any more
	cut   context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	boxes map[string]*outbox
}

// New makes a notifier without destinations. It must be closed.
func New(o Options) *Notifier {
	n := &Notifier{opts: o, boxes: map[string]*outbox{}}
	n.work, n.cut = context.WithCancel(context.Background())
	return n
}

// Adopt goes on with these destinations. To one that is gone what waits is sent once more;
// to one that has changed, as it is now.
func (n *Notifier) Adopt(all map[string]config.Notification) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, box := range n.boxes {
		if _, stays := all[name]; !stays {
			close(box.last)
			delete(n.boxes, name)
		}
	}
	for name, to := range all {
		if box := n.boxes[name]; box != nil {
			box.change(to)
			continue
		}
		box := newOutbox(name, to, &n.opts)
		n.boxes[name] = box
		n.tasks.Go(func() { box.run(n.work) })
	}
}

// Tell has destinations told of something, those of them that want to know of it. Names
// that there are not are left out.
func (n *Notifier) Tell(names []string, news News) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		if box := n.boxes[name]; box != nil && box.wants(&news) {
			box.put(news)
		}
	}
}

// Close sends what is left, once, as long as ctx allows, and returns when all has ended.
// What nobody took is in the log.
func (n *Notifier) Close(ctx context.Context) {
	n.Adopt(nil)
	defer context.AfterFunc(ctx, n.cut)()
	n.tasks.Wait()
	n.cut()
}

// wants tells whether a destination wants to know of something.
func (o *outbox) wants(n *News) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return wants(o.to.Events, n)
}

// wants: one that is never told of failures does not care that they are over, unless that
// is all that it wants to know.
func wants(events []config.Event, n *News) bool {
	if !slices.Contains(events, n.Event) {
		return false
	}
	if n.Event != config.Recovered || len(events) == 1 {
		return true
	}
	return slices.ContainsFunc(n.After, func(e config.Event) bool { return slices.Contains(events, e) })
}
