package replicator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Kinds of errors that the controller, or a person's script, decides on. The
// strings are stable: they cross the connection between controller and agent and
// appear in JSON output.
const (
	// KindOther is everything nobody decides on.
	KindOther = "other"

	// The source's domain.
	KindUnknownDomain   = "unknown-domain"   // no such domain on the source
	KindDomainOff       = "domain-off"       // not running: no backup is possible
	KindDomainStopped   = "domain-stopped"   // it stopped or crashed during the run
	KindNoDisk          = "no-disk"          // a disk that was asked for does not exist
	KindDiskUnfit       = "disk-unfit"       // a disk cannot be replicated
	KindJobActive       = "job-active"       // another program's job excludes a backup
	KindNotFrozen       = "not-frozen"       // the guest's file systems could not be frozen, as was required
	KindLeftBehind      = "left-behind"      // the other machines of its group could not wait for it any longer
	KindScratchFull     = "scratch-full"     // too little room for the scratch files
	KindCheckpointInUse = "checkpoint-inuse" // the new checkpoint's name or bitmap exists
	// KindCheckpointInconsistent means that a parent's bitmaps are gone or broken.
	// Nothing was begun. Begin again with every disk full and the parents in Forget.
	KindCheckpointInconsistent = "checkpoint-inconsistent"

	// KindNoCheckpoint means that the source has no checkpoint of the name that was
	// given, or several that begin with it.
	KindNoCheckpoint = "no-checkpoint"

	// Either end.
	KindBusy           = "busy"            // another run holds the lock; Err is a *BusyError
	KindUnreachable    = "unreachable"     // libvirt or the host does not answer
	KindProgramMissing = "program-missing" // a program the end needs is not installed
	KindDenied         = "denied"          // rights are missing
	KindNoSpace        = "no-space"        // the target's file system is full
	KindStream         = "stream"          // the stream was damaged, or not the one asked for
	KindPeer           = "peer"            // the connection that carries the stream broke
	KindExport         = "export"          // the source's NBD export failed or went away
	KindTarget         = "target"          // the target's NBD server failed or went away
	KindSequence       = "sequence"        // the controller broke the order of calls: a bug
	KindRequest        = "request"         // a request's values make no sense: a bug
	KindStalled        = "stalled"         // both ends live and nothing gets on
	KindCanceled       = "canceled"        // the caller gave up
	KindUsage          = "usage"           // the user asked for something that makes no sense
	KindVersion        = "version"         // the two sides are of releases that do not understand each other
	KindAgentLost      = "agent-lost"      // the agent on an end died or fell silent
	KindOutput         = "output"          // the stream cannot be written to stdout
	KindInput          = "input"           // the stream cannot be read from stdin
	KindListen         = "listen"          // there cannot be listened at the address
	KindHookFailed     = "hook-failed"     // a hook of the configuration did not end well

	// The target's replica.
	KindStore         = "store"             // the store cannot be read or written
	KindOtherMachine  = "other-machine"     // the folder or the domain's name belongs to another machine
	KindOtherReplica  = "other-replica"     // the stream belongs to another replica of the machine
	KindReplicaActive = "replica-active"    // the replica runs on the target
	KindReplicaUsed   = "replica-used"      // the replica was started since the last sync
	KindDefine        = "define"            // libvirt on the target refuses the domain's definition
	KindHeld          = "already-held"      // the replica has the stream's state, or a newer one
	KindParentMissing = "parent-missing"    // the replica's head is not what the stream builds on
	KindChanged       = "changed-meanwhile" // a disk changed between look and begin
	KindRole          = "role"              // the replica does not follow its source now
	KindPinned        = "pinned"            // somebody uses a state that is to go or to change
	KindDamaged       = "damaged"           // a state is not what its digests say
	KindNoState       = "no-state"          // there is no such state, or several of that name
	KindNoReplica     = "no-replica"        // the store holds no such replica
)

// Error is a failure of one end, as a controller decides on it and a person reads
// it. Any field but Kind and Err may be empty. It survives a hop as JSON, except
// that Err comes back as plain text (*BusyError excepted).
type Error struct {
	Kind   string // one of the Kind constants
	Domain string
	Disk   string
	Op     string // what was being done: "begin the backup"
	Hint   string // what to do next, as a sentence without its full stop
	Err    error
}

// Error says what happened, to what, and what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Domain != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "(domain %s", e.Domain)
		if e.Disk != "" {
			fmt.Fprintf(&b, ", disk %s", e.Disk)
		}
		b.WriteByte(')')
	} else if e.Disk != "" {
		fmt.Fprintf(&b, " (disk %s)", e.Disk)
	}
	if e.Err != nil {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	if b.Len() == 0 {
		b.WriteString(e.Kind)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Text says what happened and nothing that has a field of its own.
func (e *Error) Text() string {
	bare := &Error{Kind: e.Kind, Op: e.Op, Err: e.Err}
	return bare.Error()
}

// Advice says what to do next: the hint, or what is always right for the kind.
func (e *Error) Advice() string {
	if e.Hint != "" {
		return e.Hint
	}
	switch e.Kind {
	case KindBusy:
		return "wait for it to end"
	case KindUnreachable:
		return "see whether libvirtd is running there"
	case KindPeer, KindExport, KindTarget, KindStream, KindAgentLost, KindCanceled, KindChanged, KindCheckpointInUse:
		return "run it again; it cleans up what this one left"
	case KindDenied:
		return "vmsync must be root there, or on the source the account that is set up for it (docs/SOURCE-ACCOUNT.md)"
	case KindHookFailed:
		return "see what it says, and put it right, or the hook in the configuration"
	}
	return "run it again with -v to see the log of both ends"
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, KindOther if there
// is none, and "" for nil.
func KindOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != "" {
		return e.Kind
	}
	return KindOther
}

// BusyError says that another run holds the lock.
type BusyError struct {
	PID  int    // of the process that holds it; 0 when unknown
	What string // what that process says it is doing, for people
}

// Error names the holder.
func (e *BusyError) Error() string {
	switch {
	case e.PID > 0 && e.What != "":
		return fmt.Sprintf("another run holds the lock: process %d (%s)", e.PID, e.What)
	case e.PID > 0:
		return fmt.Sprintf("another run holds the lock: process %d", e.PID)
	default:
		return "another run holds the lock"
	}
}

// wireError is Error as JSON.
type wireError struct {
	Kind      string `json:"kind"`
	Domain    string `json:"domain,omitempty"`
	Disk      string `json:"disk,omitempty"`
	Op        string `json:"op,omitempty"`
	Hint      string `json:"hint,omitempty"`
	Message   string `json:"message,omitempty"` // text of Err
	HolderPID int    `json:"holder_pid,omitempty"`
	Holder    string `json:"holder,omitempty"`
}

// MarshalJSON encodes the error for the other side of a connection.
func (e *Error) MarshalJSON() ([]byte, error) {
	w := wireError{Kind: e.Kind, Domain: e.Domain, Disk: e.Disk, Op: e.Op, Hint: e.Hint}
	if e.Err != nil {
		w.Message = e.Err.Error()
	}
	if b, ok := errors.AsType[*BusyError](e.Err); ok {
		w.HolderPID, w.Holder = b.PID, b.What
	}
	return json.Marshal(w)
}

// UnmarshalJSON decodes what MarshalJSON encoded.
func (e *Error) UnmarshalJSON(data []byte) error {
	var w wireError
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("decode error: %w", err)
	}
	*e = Error{Kind: w.Kind, Domain: w.Domain, Disk: w.Disk, Op: w.Op, Hint: w.Hint}
	if e.Kind == "" {
		e.Kind = KindOther
	}
	if w.Message != "" {
		e.Err = errors.New(w.Message)
	}
	if e.Kind == KindBusy {
		e.Err = &BusyError{PID: w.HolderPID, What: w.Holder}
	}
	return nil
}

// AsError returns err as an *Error: the first *Error in its chain, with what was
// wrapped around it or joined to it kept in the text. Anything else becomes one
// of KindOther; nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return &Error{Kind: KindOther, Err: err}
	}
	if err == error(e) {
		return e
	}
	// What has a field of its own need not be in the text as well.
	text := strings.Replace(err.Error(), e.Error(), e.Text(), 1)
	return &Error{Kind: e.Kind, Domain: e.Domain, Disk: e.Disk, Hint: e.Hint, Err: &reworded{text: text, err: err}}
}

// reworded is an error with another text.
type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }

func (r *reworded) Unwrap() error { return r.err }
