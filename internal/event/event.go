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
	PhaseAfter    Phase = "after"    // run the hooks that come last

	PhaseVerify  Phase = "verify"  // read what is stored and compare it
	PhaseCompare Phase = "compare" // read the source and compare it with what is stored
	PhaseMark    Phase = "mark"    // keep in the manifest what was found
	PhaseRestore Phase = "restore" // write a state's disks
	PhaseCheck   Phase = "check"   // read what was written and compare it
	PhaseDefine  Phase = "define"  // define a domain
	PhaseKeep    Phase = "keep"    // copy what was written to an export
)

// Run says under which id a sync is known: in the logs of the agents on both hosts, and, of
// one that the service runs, in its log, its history, its API and its metrics. It comes first.
type Run struct {
	ID     string // 12 hex digits
	Domain string
	Source string // as the service's configuration names it; else its host
}

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
	Disk    string
	Size    int64 // bytes of the disk; 0 while unknown
	Scanned int64 // how far the search for changes is, in bytes of the disk
	Found   int64 // bytes of changed extents found so far
	Total   int64 // bytes of changed extents in all; 0 while unknown
	Done    int64 // bytes of changed extents sent
	Zero    int64 // those of Done that are zeros
	Written int64 // bytes of changed extents written by the target
	Traffic Traffic
}

// Traffic is what a stream has carried, of all disks.
type Traffic struct {
	Bytes  int64 // everything included
	Frames int64 // of data and of zeros
	Codecs []CodecTraffic
}

// CodecTraffic counts the data frames of one codec.
type CodecTraffic struct {
	Codec  string
	Frames int64
	Raw    int64 // bytes of data, uncompressed
	Stored int64 // bytes of data, as they were sent
}

// Ratio is how many times larger the data are than what was sent for them; 0 where
// no data were sent.
func (t Traffic) Ratio() float64 {
	var raw, stored int64
	for _, c := range t.Codecs {
		raw, stored = raw+c.Raw, stored+c.Stored
	}
	if stored <= 0 {
		return 0
	}
	return float64(raw) / float64(stored)
}

// Kinds of a run, and of a disk within it.
const (
	KindFull        = "full"
	KindIncremental = "incremental"
	KindResync      = "resync" // compared block by block, and what differed was sent
	KindMixed       = "mixed"  // some disks one way, some another
)

// Ways of a stream. They are part of the JSON output.
const (
	TransportDirect = "direct" // from source to target
	TransportSSH    = "ssh"    // through the program that runs and its SSH connections
	TransportTLS    = "tls"    // through the program that runs and its TLS connections to the source
	TransportLocal  = "local"  // within the host that both ends are on
)

// Summary ends a run that succeeded.
type Summary struct {
	Run    string // its id, if it has one
	Domain string
	State  string // name of the new state; empty when a stream was only sent
	// Checkpoint is the state's name on the source; set when a stream was sent to
	// nobody in particular, or received.
	Checkpoint   string
	Kind         string
	Consistency  string // "filesystem" or "crash"
	ChangedBytes int64  // bytes of changed extents, of all disks
	ZeroBytes    int64  // those of them that read as zeros
	Transport    string // how the stream went
	NotDirect    string // why it did not go directly although that was tried; may be empty
	Traffic      Traffic
	Transfer     time.Duration // how long the stream took
	Duration     time.Duration // of the whole run
	Frozen       time.Duration // how long the guest was frozen
	Group        *Group        // where the state was taken together with others'
	Disks        []DiskSummary
}

// Group is the set of states of several machines that a state belongs to.
type Group struct {
	ID         string   // 12 hex digits
	Name       string   // as the service's configuration names the group
	Members    []string // replicas of all machines of the group
	OneInstant bool     // all who took part were frozen while the checkpoints were taken
}

// SentRate is the bytes of stream per second, while it lasted; 0 where it took no
// time.
func (s Summary) SentRate() float64 {
	if s.Transfer <= 0 {
		return 0
	}
	return float64(s.Traffic.Bytes) / s.Transfer.Seconds()
}

// DiskSummary is one disk of a Summary.
type DiskSummary struct {
	Disk         string
	Kind         string // KindFull or KindIncremental
	ChangedBytes int64
	ZeroBytes    int64
}

// Skipped ends a run that found too little changed for a new state, and began nothing.
type Skipped struct {
	Run          string // its id, if it has one
	Domain       string
	ChangedBytes int64 // since the head; at most: whole pieces of the dirty bitmap count
	MinChanged   int64 // that were asked for; 0 where any would have done
	Duration     time.Duration
}

// Estimate says what a sync would have to send now.
type Estimate struct {
	Domain string
	Kind   string
	Bytes  int64 // of changed extents, of all disks, before compression
	AtMost bool  // it may be less: what a disk that is not incremental holds is not known
	Disks  []DiskEstimate
}

// DiskEstimate is one disk of an Estimate.
type DiskEstimate struct {
	Disk   string
	Kind   string
	Size   int64  // bytes of the disk
	Bytes  int64  // as in Estimate
	AtMost bool   // as in Estimate
	Reason string // why it is not incremental, or why its changes are not known; may be empty
}

// Error ends a run that failed.
type Error struct {
	Run     string // its id, if it has one
	Kind    string // stable, for programs; see the Kind constants of package replicator
	Message string
	Domain  string // may be empty
	Disk    string // may be empty
	Hint    string // what to do next; may be empty
}

// StateVerified says what was found out about a state.
type StateVerified struct {
	Domain  string
	State   string
	Damaged string // what is wrong with it; empty if it is all right
	// Unknown says why it could not be told; empty if it could.
	Unknown string
	Hint    string // what to do next; may be empty
}

// Verified ends a verification that was carried out, whatever it found.
type Verified struct {
	Domain   string
	States   int // that were looked at
	Damaged  int // those of them that are damaged
	Unknown  int // those of which it could not be told
	Images   int
	Read     int64 // bytes of disks
	Duration time.Duration
}

// Restored ends a restore that succeeded.
type Restored struct {
	Domain   string
	State    string
	Disks    []RestoredDisk
	Files    []string // paths of the other files that were written
	Defined  string   // name of the domain that was defined; may be empty
	Duration time.Duration
}

// RestoredDisk is one disk of a Restored.
type RestoredDisk struct {
	Disk   string
	Path   string
	Format string // "qcow2" or "raw"
	Size   int64  // bytes of the disk
}

// Exported says that a state can be reached over NBD now.
type Exported struct {
	Domain   string
	State    string
	Disks    []ExportedDisk
	Writable bool
	Kept     string // where what is written is kept in the end; empty for nowhere
}

// ExportedDisk is one disk of an Exported.
type ExportedDisk struct {
	Disk string
	URI  string
	Size int64 // bytes of the disk
}

// Kept says what was kept of a writable export.
type Kept struct {
	Domain string
	State  string // that was written over
	Disks  []KeptDisk
}

// KeptDisk is one disk of a Kept.
type KeptDisk struct {
	Disk string
	Path string
	Size int64 // bytes of the disk
}

// Compared says how a disk of the head relates to the source's checkpoint.
type Compared struct {
	Domain string
	State  string
	Disk   string
	Read   int64 // bytes that were read on the source
	Equal  int64 // bytes that are the same on both sides
	// Changed is the bytes that cannot be compared, for they have changed on the source
	// since the checkpoint.
	Changed   int64
	Different int64 // bytes that differ although they have not
	First     int64 // where the first of these are, in bytes
}

func (Run) isEvent()           {}
func (PhaseStarted) isEvent()  {}
func (PhaseFinished) isEvent() {}
func (Notice) isEvent()        {}
func (Warning) isEvent()       {}
func (Progress) isEvent()      {}
func (Summary) isEvent()       {}
func (Skipped) isEvent()       {}
func (Estimate) isEvent()      {}
func (Error) isEvent()         {}
func (StateVerified) isEvent() {}
func (Verified) isEvent()      {}
func (Restored) isEvent()      {}
func (Compared) isEvent()      {}
func (Exported) isEvent()      {}
func (Kept) isEvent()          {}
