package schedule

import (
	"math"
	"slices"
	"time"
)

// Remembered is how many durations of the past a prediction looks at.
const Remembered = 16

// Predict is how long the next sync will probably take at most, by how long the last ones
// took, the newest last: as long as the longest of the last three, and no less than what
// all but few of the last [Remembered] took, two standard deviations above their mean.
// It is 0 where nothing is known.
func Predict(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	took = took[max(0, len(took)-Remembered):]
	var sum, squares float64
	for _, d := range took {
		sum += float64(d)
	}
	mean := sum / float64(len(took))
	for _, d := range took {
		squares += (float64(d) - mean) * (float64(d) - mean)
	}
	usual := mean + 2*math.Sqrt(squares/float64(len(took)))
	return max(time.Duration(usual), slices.Max(took[max(0, len(took)-3):]))
}

// Health is how a replica stands against its RPO.
type Health string

// Healths, from good to bad.
const (
	Healthy Health = "ok"
	AtRisk  Health = "at-risk" // the next sync will end too late, as it looks
	Broken  Health = "broken"  // the replica is older than its RPO
)

// Judge tells how a replica stands at a moment. running is when the sync that is under way
// began, the zero time if none is; next is when the next one will begin otherwise.
func (r *Rule) Judge(now time.Time, p *Past, running, next time.Time) Health {
	if p.Fresh.IsZero() {
		return Broken
	}
	limit := p.Fresh.Add(r.RPO)
	if now.After(limit) {
		return Broken
	}
	start := running
	if start.IsZero() {
		start = later(next, now)
	}
	// One that takes longer than predicted ends now at the soonest.
	if later(start.Add(Predict(p.Took)), now).After(limit) {
		return AtRisk
	}
	return Healthy
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Slack is how long the next sync can still wait without the RPO being broken, by what is
// predicted. Negative where it is too late.
func (r *Rule) Slack(now time.Time, p *Past) time.Duration {
	if p.Fresh.IsZero() {
		return -r.RPO // as urgent as a replica that is twice as old as it may be
	}
	return p.Fresh.Add(r.RPO - Predict(p.Took)).Sub(now)
}
