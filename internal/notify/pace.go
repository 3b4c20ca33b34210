package notify

import "time"

// How a destination is sent to.
const (
	// settle is how long the first of several news waits for the others.
	settle = 5 * time.Second
	// After a message the next one waits for firstGap, and twice as long each time while
	// there always is one, up to lastGap.
	firstGap = 30 * time.Second
	lastGap  = 5 * time.Minute
	// A message that was not taken is tried again after firstPause, then after twice as
	// long each time, up to lastPause.
	firstPause = 10 * time.Second
	lastPause  = 10 * time.Minute
	// maxRefusals is how often in a row a message may be refused before it is given up.
	maxRefusals = 5
	// maxAge is how old news may get before it is given up.
	maxAge = 24 * time.Hour
)

// pace says when a destination is sent to. The zero pace is that of one to which nothing
// was sent yet.
type pace struct {
	free     time.Time     // nothing is sent before
	gap      time.Duration // that was kept after the last message
	failures int           // attempts that failed since the last message
	refusals int           // of these, how many of the last were refusals
}

// next is when news is sent of which the first came at a moment.
func (p pace) next(since time.Time) time.Time {
	if at := since.Add(settle); at.After(p.free) {
		return at
	}
	return p.free
}

// sent is the pace after a message was taken.
func (p pace) sent(now time.Time) pace {
	gap := firstGap
	if p.gap > 0 && now.Sub(p.free) < p.gap {
		gap = min(2*p.gap, lastGap)
	}
	return pace{free: now.Add(gap), gap: gap}
}

// failed is the pace after one was not taken. giveUp tells to let it go.
func (p pace) failed(now time.Time, refused bool) (_ pace, giveUp bool) {
	pause := lastPause
	if p.failures < 10 {
		pause = min(firstPause<<p.failures, lastPause)
	}
	p.failures++
	if !refused {
		p.refusals = 0
	} else if p.refusals++; p.refusals >= maxRefusals {
		p.refusals, giveUp = 0, true
	}
	p.free = now.Add(pause)
	return p, giveUp
}
