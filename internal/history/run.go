package history

import "time"

// Outcome is how a run ended.
type Outcome string

// Outcomes. They are part of the file's format and of the JSON output.
const (
	Running   Outcome = "running"   // it has not ended
	Succeeded Outcome = "succeeded" // a new state is stored
	Unchanged Outcome = "unchanged" // too little had changed for a new state
	Failed    Outcome = "failed"
	Aborted   Outcome = "aborted" // it was told to end, by a person or by the service's end
	Killed    Outcome = "killed"  // the service died while it ran
)

// Run is one attempt to sync one machine.
type Run struct {
	ID      string `json:"id"`
	Machine string `json:"machine"` // source and domain, as Key makes it
	Source  string `json:"source"`  // as the configuration names it
	Domain  string `json:"domain"`
	// Group is the id of the set of states that the run took part in, of a consistency
	// group; the runs of its members have the same. Empty for one by itself.
	Group   string `json:"group,omitempty"`
	Trigger string `json:"trigger"` // schedule, retry or request

	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`
	Waited  float64   `json:"waited_seconds,omitempty"` // for its turn, before it began
	Outcome Outcome   `json:"outcome"`

	// Of a run that succeeded.
	State       string  `json:"state,omitempty"`
	Kind        string  `json:"kind,omitempty"` // as event.Summary has it
	Consistency string  `json:"consistency,omitempty"`
	Transport   string  `json:"transport,omitempty"`
	Changed     int64   `json:"changed_bytes,omitempty"`
	Zero        int64   `json:"zero_bytes,omitempty"`
	Sent        int64   `json:"sent_bytes,omitempty"`
	Frozen      float64 `json:"frozen_seconds,omitempty"`
	Transfer    float64 `json:"transfer_seconds,omitempty"`

	// Of a run that did not; a run that stored its state may have an error as well.
	Error *RunError `json:"error,omitempty"`
}

// RunError is why a run failed.
type RunError struct {
	Kind    string `json:"kind,omitempty"` // as replicator.Kind has it
	Disk    string `json:"disk,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Duration is how long the run took, or has taken at a moment.
func (r *Run) Duration(now time.Time) time.Duration {
	if !r.Ended.IsZero() {
		now = r.Ended
	}
	return max(now.Sub(r.Began), 0)
}

// Key is a machine's key: a domain of a source.
func Key(source, domain string) string { return source + "/" + domain }

// Machine is what is known of a machine from its runs.
type Machine struct {
	Key string `json:"key"`
	// Fresh is when the run began that made the head, or a later one that found nothing
	// changed at all.
	Fresh time.Time `json:"fresh,omitzero"`
	// Tried is when the last run began that did not fail.
	Tried time.Time `json:"tried,omitzero"`
	// Failures is how many runs have failed since, Failed when the last of them ended.
	Failures int       `json:"failures,omitempty"`
	Failed   time.Time `json:"failed,omitzero"`
	// Took are the durations of the last runs that made a state, in nanoseconds, the newest
	// last; at most Remembered.
	Took []time.Duration `json:"took,omitempty"`
	// Paused is set while nobody wants it synced.
	Paused *Pause `json:"paused,omitempty"`
	// Told is what somebody was told of it.
	Told Told `json:"told,omitzero"`
}

// Told is what somebody was told of a machine, and not yet that it is over.
type Told struct {
	// Broken is since when its replica is older than promised.
	Broken time.Time `json:"rpo_broken,omitzero"`
	// Failed is since when its syncs fail, Kinds with which errors, and Tried what the
	// machine's Tried was then: once it is another, a sync was good.
	Failed time.Time `json:"failed,omitzero"`
	Kinds  []string  `json:"failed_kinds,omitempty"`
	Tried  time.Time `json:"failed_tried,omitzero"`
}

// IsZero tells whether nobody was told anything.
func (t Told) IsZero() bool { return t.Broken.IsZero() && t.Failed.IsZero() }

// Pause says since when and why a machine is not synced.
type Pause struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// Remembered is how many durations a machine has.
const Remembered = 16

// Seen is what is known of the machine once a look has found that nothing at all had
// changed at a time. What a run has found since stays.
func (m Machine) Seen(at time.Time) Machine {
	if m.Fresh.Before(at) {
		m.Fresh = at
	}
	if m.Tried.Before(at) {
		m.Tried = at
	}
	if m.Failed.Before(at) {
		m.Failures, m.Failed = 0, time.Time{}
	}
	return m
}

// After is what is known of the machine once a run has ended, as [History.End] keeps it.
func (m Machine) After(r *Run) Machine {
	switch r.Outcome {
	case Succeeded:
		m.Fresh, m.Tried, m.Failures, m.Failed = r.Began, r.Began, 0, time.Time{}
		m.Took = append(m.Took[max(0, len(m.Took)-Remembered+1):len(m.Took):len(m.Took)], r.Ended.Sub(r.Began))
	case Unchanged:
		m.Tried, m.Failures, m.Failed = r.Began, 0, time.Time{}
		if r.Changed == 0 {
			m.Fresh = r.Began
		}
	case Failed, Killed:
		m.Failures++
		m.Failed = r.Ended
	}
	return m
}
