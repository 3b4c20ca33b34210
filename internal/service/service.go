package service

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/internal/notify"
)

// Options of a service. Config, History and Ends are needed.
type Options struct {
	Config  *config.Config
	History *history.History
	Ends    Ends

	// Path is the configuration's, for people, and Load reads it again.
	Path string
	Load func() (*config.Config, error)
	// Version is the program's, for people.
	Version string
	Log     *slog.Logger // discarded if nil
	// Grace is how long runs may go on when the service is to end. Then they are given up.
	Grace time.Duration
	// Tell is called with a line about how things stand when that has changed.
	Tell func(line string)
	// Ended is called by the loop with each run that has ended, and may not keep it waiting.
	Ended func(*history.Run)
	// Listen is called with where a configuration that was read again wants metrics to be
	// served. An error of it refuses the configuration.
	Listen func(address string) error
	// Notify sends news to a destination of the configuration; [notify.Sender.Send] if nil.
	Notify func(ctx context.Context, name string, to config.Notification, news []notify.News) error
	// Alive is called each AliveEvery by the loop: as long as it is, the service lives.
	Alive      func()
	AliveEvery time.Duration
}

// Service is a service. [Service.Run] runs it; other methods may be called from any
// goroutine while it runs.
type Service struct {
	opts  Options
	log   *slog.Logger
	hist  *history.History
	ends  Ends
	since time.Time

	notifier *notify.Notifier

	calls chan func()    // to the loop
	over  chan struct{}  // the loop has ended
	tasks sync.WaitGroup // runs and watches

	reloading sync.Mutex // one at a time
	events    events
	shelf     shelf

	// What follows belongs to the loop.
	cfg      *config.Config
	sources  map[string]*source
	machines map[string]*machine
	known    map[string]bool // keys of machines that ever were
	running  map[string]*run // by machine's key
	writing  map[[2]string]bool
	seen     map[string]time.Time // looks that found nothing changed and are not kept yet, by machine's key
	saved    time.Time            // when such were kept last
	watching context.Context      // of all watches
	stopping bool
	told     string // the line that was told last
}

// New makes a service. It does nothing yet.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	if o.Ended == nil {
		o.Ended = func(*history.Run) {}
	}
	if o.Listen == nil {
		o.Listen = func(string) error { return nil }
	}
	return &Service{
		opts: o, log: o.Log, hist: o.History, ends: o.Ends, since: time.Now(),
		calls: make(chan func()), over: make(chan struct{}),
		sources: map[string]*source{}, machines: map[string]*machine{}, known: map[string]bool{},
		notifier: newNotifier(&o), running: map[string]*run{}, writing: map[[2]string]bool{}, seen: map[string]time.Time{},
	}
}

// do has the loop call a function, and waits for that.
func (s *Service) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.calls <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.over:
		return ending()
	}
}

func ending() *api.Error {
	return &api.Error{Kind: api.KindStopping, Message: "the service ends", Hint: "see: systemctl status vmsync"}
}
