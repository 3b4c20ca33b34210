// Package event says what happens during one run, as plain values: the program
// that runs emits them, internal/ui shows them. The package imports nothing of
// vmsync and must never print.
package event

import "time"

// Sink takes the events of a run. Emit may be called from several goroutines at
// once; it does not fail and does not keep what the event refers to.
type Sink interface {
	Emit(Event)
}

// Event is one of the types of this package.
type Event interface{ isEvent() }

// Phase names a part of a run. Phases do not overlap. The names are part of the
// JSON output.
type Phase string

// The phases of a run, in order.
const (
	PhaseConnect  Phase = "connect"  // start an agent on each end
	PhaseInspect  Phase = "inspect"  // look at domain and replica, plan
	PhaseBegin    Phase = "begin"    // freeze, checkpoint, thaw; make ready to receive
	PhaseTransfer Phase = "transfer" // stream the extents
	PhaseCommit   Phase = "commit"   // make the state durable and visible
	PhaseFinish   Phase = "finish"   // end the job, drop the older checkpoint
)

// PhaseStarted says that a phase has begun.
type PhaseStarted struct {
	Phase Phase
}

// PhaseFinished says that a phase has ended well. A phase that fails ends with an
// Error instead.
type PhaseFinished struct {
	Phase    Phase
	Duration time.Duration
	Detail   string // what it came to, in a few words; may be empty
}

// Notice is something the user may want to know.
type Notice struct {
	Message string
}

// Warning is something the user should act upon, although the run goes on.
type Warning struct {
	Message string
	Disk    string // may be empty
}

// Progress of one disk.
type Progress struct {
	Disk  string
	Done  int64 // bytes of changed extents handled
	Total int64 // bytes of changed extents in all; 0 while unknown
	Wire  int64 // bytes of stream so far, all disks
}

// Kinds of a run, and of a disk within it.
const (
	KindFull        = "full"
	KindIncremental = "incremental"
	KindMixed       = "mixed" // some disks full, others incremental
)

// Summary ends a run that succeeded.
type Summary struct {
	Domain string
	State  string // name of the new state; empty when a stream was only sent
	// Checkpoint is the state's name on the source; set when a stream was sent to
	// nobody in particular, or received.
	Checkpoint   string
	Kind         string
	Consistency  string // "filesystem" or "crash"
	ChangedBytes int64  // bytes of changed extents, of all disks
	ZeroBytes    int64  // those of them that read as zeros
	SentBytes    int64  // bytes of stream, sent or received
	Duration     time.Duration
	Frozen       time.Duration // how long the guest was frozen
	Disks        []DiskSummary
}

// DiskSummary is one disk of a Summary.
type DiskSummary struct {
	Disk         string
	Kind         string // KindFull or KindIncremental
	ChangedBytes int64
	ZeroBytes    int64
}

// Error ends a run that failed.
type Error struct {
	Kind    string // stable, for programs; see the Kind constants of package replicator
	Message string
	Domain  string // may be empty
	Disk    string // may be empty
	Hint    string // what to do next; may be empty
}

func (PhaseStarted) isEvent()  {}
func (PhaseFinished) isEvent() {}
func (Notice) isEvent()        {}
func (Warning) isEvent()       {}
func (Progress) isEvent()      {}
func (Summary) isEvent()       {}
func (Error) isEvent()         {}
