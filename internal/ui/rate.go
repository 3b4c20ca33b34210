package ui

import (
	"math"
	"time"
)

// rateMemory is the time after which an observation counts for 1/e.
const rateMemory = 10 * time.Second

// rate estimates how fast a count grows, forgetting the past exponentially. The
// zero value is ready.
type rate struct {
	started bool
	at      time.Time
	count   int64
	// Weighted sums; their quotient is free of the slow start that a plain moving
	// average has.
	bytes, seconds float64
}

// observe tells that the count was n at a time. A count that shrinks starts anew.
func (r *rate) observe(at time.Time, n int64) {
	if !r.started || n < r.count {
		*r = rate{started: true, at: at, count: n}
		return
	}
	dt := at.Sub(r.at).Seconds()
	if dt <= 0 {
		return
	}
	keep := math.Exp(-dt / rateMemory.Seconds())
	r.bytes = r.bytes*keep + float64(n-r.count)
	r.seconds = r.seconds*keep + dt
	r.at, r.count = at, n
}

// perSecond is the rate; 0 while unknown.
func (r *rate) perSecond() float64 {
	if r.seconds == 0 {
		return 0
	}
	return r.bytes / r.seconds
}

// left is the time until total is reached; false while unknown.
func (r *rate) left(total int64) (time.Duration, bool) {
	perSecond := r.perSecond()
	if total <= 0 || r.count >= total || perSecond <= 0 {
		return 0, false
	}
	seconds := float64(total-r.count) / perSecond
	if seconds > 99*3600 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
