package api

import (
	"time"

	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// Version is that of the paths: /v1/….
const Version = "v1"

// Status is what the service says of itself.
type Status struct {
	Version  string    `json:"version"` // of the program
	Since    time.Time `json:"since"`   // when it began
	Config   string    `json:"config"`  // path
	Stopping bool      `json:"stopping,omitempty"`
	Sources  []Source  `json:"sources"`
	Machines []Machine `json:"machines"` // sorted by name, then source
	// Stores are those of the machines, by path, where they are on the service's host.
	Stores []Store `json:"stores,omitempty"`
}

// Store is where replicas are kept: how much room its filesystem has, and how much of it is
// free for the service, both in bytes.
type Store struct {
	Path  string `json:"path"`
	Size  uint64 `json:"size_bytes"`
	Avail uint64 `json:"avail_bytes"`
}

// Source is a host that machines come from.
type Source struct {
	Name   string    `json:"name"`
	URI    string    `json:"uri"`
	Listed time.Time `json:"listed,omitzero"` // when its domains were last listed
	// Error is why they cannot be listed now; empty if they can, or nobody has tried yet.
	Error string `json:"error,omitempty"`
}

// Health is how a replica stands against what is promised of it.
type Health = schedule.Health

// Paused is the health of a machine of which nothing is promised now. The others are
// those of package schedule.
const Paused Health = "paused"

// Doing is what the service does with a machine.
type Doing string

// What it may do.
const (
	Idle     Doing = "idle"     // the next run is not due
	Waiting  Doing = "waiting"  // a run is due, and waits for its turn
	Syncing  Doing = "syncing"  // a run is under way
	Retrying Doing = "retrying" // the last run failed, and is tried again when Next says
	Held     Doing = "held"     // its source does not answer
	Resting  Doing = "paused"   // it is paused
)

// Machine is how one machine stands.
type Machine struct {
	Name         string `json:"name"`
	Source       string `json:"source"`
	TargetDomain string `json:"target_domain"`
	Store        string `json:"store"`
	Schedule     string `json:"schedule"` // for people: "every 15m"
	// Group is the consistency group that it belongs to; empty for none.
	Group string `json:"group,omitempty"`
	// Role, States and Size are what the store says, where it is on the service's host. Size
	// is what the images of all states take on disk, in bytes.
	Role   string `json:"role,omitempty"`
	States *int   `json:"states,omitempty"`
	Size   *int64 `json:"size_bytes,omitempty"`

	Health Health `json:"health"`
	Doing  Doing  `json:"doing"`
	// Fresh is the last moment of which the replica is known to hold what the source had;
	// Age is how long ago that is. Without a replica neither is there.
	Fresh time.Time `json:"fresh,omitzero"`
	Age   *float64  `json:"age_seconds,omitempty"`
	// Tried is when the last run began that did not fail.
	Tried time.Time `json:"tried,omitzero"`
	RPO   float64   `json:"rpo_seconds"` // how old it may get
	// Next is when the next run is due; not there for one that is under way or never comes.
	Next time.Time `json:"next,omitzero"`
	// Waiting is for how long a run that is due has been waiting for its turn.
	Waiting  float64        `json:"waiting_seconds,omitempty"`
	Paused   *history.Pause `json:"paused,omitempty"`
	Failures int            `json:"failures,omitempty"` // runs that failed since the last good one
	// Error is what is wrong now: why the last run failed, or its source does not answer.
	Error   *history.RunError `json:"error,omitempty"`
	Last    *history.Run      `json:"last,omitempty"` // run that has ended
	Running *Running          `json:"running,omitempty"`
}

// Broken tells whether what is promised of the replica is not kept.
func (m *Machine) Broken() bool { return m.Health == schedule.Broken }

// Running is a run that is under way.
type Running struct {
	ID      string    `json:"id"`
	Trigger string    `json:"trigger"`
	Began   time.Time `json:"began"`
	Phase   string    `json:"phase,omitempty"`
	Done    int64     `json:"done_bytes"`
	Total   int64     `json:"total_bytes"` // 0 while unknown
	// PerSecond is how fast Done has grown in the last seconds; 0 while unknown.
	PerSecond float64 `json:"bytes_per_second,omitempty"`
	Sent      int64   `json:"sent_bytes,omitempty"` // of the stream, by then
}

// SyncRequest asks for a run now.
type SyncRequest struct {
	Full   bool `json:"full,omitempty"`
	Resync bool `json:"resync,omitempty"`
	// MinChanged has nothing done where fewer bytes have changed; 0 is none.
	MinChanged int64 `json:"min_changed,omitempty"`
}

// PauseRequest says why a machine is paused, for people.
type PauseRequest struct {
	Reason string `json:"reason,omitempty"`
}

// Changed is the answer to a pause and a resume.
type Changed struct {
	Changed bool `json:"changed"` // false: it was so already
}

// Kinds of errors that the service itself has. A run's are those of package replicator.
const (
	KindUnknownMachine = "unknown-machine" // no machine of that name
	KindAmbiguous      = "ambiguous"       // several sources have one
	KindPaused         = "paused"
	KindStopping       = "stopping"   // the service ends
	KindBadConfig      = "bad-config" // what was to be loaded is not sound
	KindDenied         = "denied"
	KindBadRequest     = "bad-request"
)

// Error is what the service refuses a request with.
type Error struct {
	Kind    string `json:"kind"`
	Machine string `json:"machine,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do next
}

// Error says what happened and what to do next.
func (e *Error) Error() string {
	s := e.Message
	if e.Machine != "" {
		s = e.Machine + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}
