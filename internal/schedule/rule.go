package schedule

import (
	"strconv"
	"time"
)

// Calendar gives the times of a cron expression.
type Calendar interface {
	// Next is the first time after t, the zero time if there is none.
	Next(t time.Time) time.Time
}

// Rule says when a machine is to be synced. Exactly one of Every, Calendar and
// Continuous is set.
type Rule struct {
	Every      time.Duration // from start to start
	Calendar   Calendar
	Continuous bool // when it must, to keep RPO

	// RPO is how old the replica may get; above 0.
	RPO time.Duration
	// Spread moves the start of each sync by up to so much, so that machines with the same
	// rule do not all begin at once: with Calendar by the same amount each time, with Every
	// by another. Continuous machines have none: they have no common beat.
	Spread time.Duration
	Retry  Retry
}

// Retry says how soon a sync that failed is tried again: after First, then after twice
// as long each time, up to Max.
type Retry struct{ First, Max time.Duration }

// After is how long to wait after so many failures in a row, 1 or more.
func (r Retry) After(failures int) time.Duration {
	wait := r.First
	for range failures - 1 {
		if wait >= r.Max/2 {
			return r.Max
		}
		wait *= 2
	}
	return min(wait, r.Max)
}

// Past is what is known of a machine's syncs.
type Past struct {
	// Fresh is the last moment of which the replica is known to hold what the source had
	// then: the start of the sync that made the head, or a later look that found nothing
	// changed. Zero if there is no replica.
	Fresh time.Time
	// Tried is when the last sync that did not fail began, also one that found too little
	// changed to be worth while. Zero if there was none.
	Tried time.Time
	// Failures counts the syncs that failed since, and Failed is when the last one did.
	Failures int
	Failed   time.Time
	// Took are the durations of the last syncs that ended well, the newest last.
	Took []time.Duration
}

// Due is when the next sync is to begin. A time in the past means now: what was missed is
// made up once. The zero time also means now. key tells the machine from others, for its
// share of Rule.Spread.
func (r *Rule) Due(key string, p *Past) time.Time {
	if p.Failures > 0 {
		return p.Failed.Add(r.Retry.After(p.Failures))
	}
	switch {
	case p.Tried.IsZero():
		return time.Time{}
	case r.Continuous:
		return r.latest(p)
	case r.Calendar != nil:
		// A sync that was moved by the spread belongs to the time before it was moved.
		shift := share(key, r.Spread)
		next := r.Calendar.Next(p.Tried.Add(-shift))
		if next.IsZero() {
			return never
		}
		return next.Add(shift)
	default:
		// Another share each time, or machines that began together would stay together.
		return p.Tried.Add(r.Every + share(key+strconv.FormatInt(p.Tried.UnixNano(), 10), r.Spread))
	}
}

// never is what no clock reaches.
var never = time.Unix(1<<40, 0)

// Never tells whether a time given by Due does not come.
func Never(t time.Time) bool { return !t.Before(never) }

// latest is when a continuous machine's sync must begin for the replica not to get older
// than RPO before it ends. It is no sooner than a quarter of RPO after the one before, so
// that an RPO that cannot be kept does not take all there is.
func (r *Rule) latest(p *Past) time.Time {
	start := p.Fresh.Add(r.RPO - Predict(p.Took) - margin(r.RPO))
	soonest := p.Tried.Add(r.RPO / 4)
	if start.Before(soonest) {
		return soonest
	}
	return start
}

// margin is kept for what no prediction knows.
func margin(rpo time.Duration) time.Duration { return min(rpo/8, 30*time.Second) }

// share is the part of spread that a key has, the same each time, evenly over keys.
func share(key string, spread time.Duration) time.Duration {
	if spread <= 0 {
		return 0
	}
	// FNV-1a with a last mixing: keys that differ in the last letter are to lie apart.
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return time.Duration(h % uint64(spread))
}
