package remote

import (
	"sync"
	"time"
)

// watchdog calls bite once when it has not been fed for a while.
type watchdog struct {
	mu    sync.Mutex
	limit time.Duration
	timer *time.Timer
}

func newWatchdog(limit time.Duration, bite func()) *watchdog {
	return &watchdog{limit: limit, timer: time.AfterFunc(limit, bite)}
}

func (w *watchdog) feed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A timer that has fired is not started again: silence is final.
	if w.timer.Stop() {
		w.timer.Reset(w.limit)
	}
}

func (w *watchdog) stop() { w.timer.Stop() }
