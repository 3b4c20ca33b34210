package deadpeer

import "time"

// debt is what a peer owes, seen at intervals.
type debt struct{ since time.Time }

// silence is how long the peer has not been heard although it owed an acknowledgement
// all the time. Neither alone says that it is dead: one that owes nothing is not heard
// for long, and one that takes nothing is asked, and answers, every two minutes at most.
func (d *debt) silence(now time.Time, owes bool, lastHeard time.Duration) time.Duration {
	if !owes {
		d.since = time.Time{}
		return 0
	}
	if d.since.IsZero() {
		d.since = now
	}
	return min(lastHeard, now.Sub(d.since))
}
