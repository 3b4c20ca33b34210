package replicator

import (
	"context"
	"time"
)

// TargetEnd is the host that keeps the replica. One TargetEnd serves one run;
// its methods are called one at a time, in the order of this interface.
type TargetEnd interface {
	// Open takes the run's lock on the replica's folder, completes or removes what
	// dead runs left, and tells what the store holds. It refuses a replica that runs
	// or was run. A lock that is held gives an error of KindBusy. A look that is ReadOnly
	// does none of that.
	Open(ctx context.Context, req OpenRequest) (*TargetView, error)
	// Prepare makes empty overlays or images and starts the data plane on them.
	// Nothing that the manifest lists is touched. Called again, it first drops what
	// the earlier call made. What it holds of disks that the source need not send in full
	// it reads back, which progress tells of.
	Prepare(ctx context.Context, req PrepareRequest, progress func(Progress)) (*Prepared, error)
	// Known returns the next part of the index of a disk in Prepared.Known.
	Known(ctx context.Context, req KnownRequest) (*KnownPart, error)
	// Wait returns when the stream has been received, applied, flushed and checked
	// against its digests.
	Wait(ctx context.Context, progress func(Progress)) (*StreamResult, error)
	// Commit makes the received state durable and visible, all disks at once.
	Commit(ctx context.Context, req CommitRequest) (*Committed, error)
	// Settle does what is left to do on the target once a state is durable: it points
	// the domain at it, takes the states off the list that the policy does not keep, and
	// merges the overlays that are no longer needed. What it could not do is done by the
	// next run.
	Settle(ctx context.Context) (*Settled, error)
	// Hook runs a hook on the target's host; see SourceEnd. It may be called at any time
	// after Open.
	Hook(ctx context.Context, req HookRequest, output func(line string)) error
	// Close ends everything the run began and has not committed and releases the
	// lock. A folder that Open made goes too, unless a source may know its pair.
	Close() error
}

// OpenRequest asks for the target's view of a replica.
type OpenRequest struct {
	Store        string `json:"store"`         // absolute path
	TargetDomain string `json:"target_domain"` // name of the replica and of its folder
	Run          string `json:"run,omitempty"` // as in InspectRequest
	// ReadOnly asks for a look that changes nothing and waits for nobody: what a run would
	// refuse is told (TargetView.Look), not refused. Only Close may follow.
	ReadOnly bool `json:"read_only,omitempty"`
}

// HeadDisk is one disk of the store's head.
type HeadDisk struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Head is the newest state of a store.
type Head struct {
	Generation int64      `json:"generation"`
	Checkpoint string     `json:"checkpoint"`
	Time       time.Time  `json:"time"`
	Disks      []HeadDisk `json:"disks"`
	// Images has, by disk, the path that its image had on the source, as far as the
	// domain's definition at the head tells.
	Images map[string]string `json:"images,omitempty"`
	// Definition is the digest of the domain's definition at the head, as [Shape] has it.
	Definition string `json:"definition,omitempty"`
	// Damaged says what is wrong with the head, if anything is known to be.
	Damaged string `json:"damaged,omitempty"`
}

// TargetView is what the target looks like before anything is begun.
type TargetView struct {
	Pair     string `json:"pair"` // made at the first Open, or adopted; kept with the first state
	HostID   string `json:"host_id"`
	Folder   string `json:"folder"` // the domain's folder
	Head     *Head  `json:"head,omitempty"`
	UUID     string `json:"uuid,omitempty"` // of the domain this replica belongs to
	LastUsed int64  `json:"last_used"`      // highest generation ever given out
	Keep     string `json:"keep,omitempty"` // the retention policy; empty is "0"
	// ReachedAt is this host's address that the controller's SSH connection came to;
	// empty where there is none.
	ReachedAt string   `json:"reached_at,omitempty"`
	Cleaned   []string `json:"cleaned,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	// Look is what only a look that is ReadOnly tells.
	Look *TargetLook `json:"look,omitempty"`
}

// TargetLook is a replica as somebody sees it who only looks. Lists are in words, for
// people.
type TargetLook struct {
	// Exists is set when the store has a replica of the name, with a manifest that can be
	// read; without it only Folder, Free and Refused are set.
	Exists bool   `json:"exists"`
	Source string `json:"source"` // host of the source, as the user named it
	Role   string `json:"role"`
	Keep   string `json:"keep"` // retention policy
	States int    `json:"states"`
	// Domain is the state of the replica's domain; empty where it is not defined.
	Domain string `json:"domain,omitempty"`
	// InUse is set while a run holds the lock. There are no leftovers then: what is
	// there is at work.
	InUse bool `json:"in_use,omitempty"`
	// Leftovers are what the next run completes or removes.
	Leftovers []string `json:"leftovers,omitempty"`
	// Staged are disks of which a run that did not end has received something.
	Staged  []string `json:"staged,omitempty"`
	Damaged []string `json:"damaged,omitempty"` // states, and what is wrong with them
	Pinned  []string `json:"pinned,omitempty"`  // states, and who uses them
	// Refused is why the next run would refuse, all reasons.
	Refused   []*Error `json:"refused,omitempty"`
	Allocated int64    `json:"allocated"` // bytes on disk that the images take
	Free      int64    `json:"free"`      // bytes free on the store's file system
}

// PrepareDisk is one disk to receive.
type PrepareDisk struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	Incremental bool   `json:"incremental"`
	// Resync has the disk built on the head's, although nobody knows what changed: the
	// target tells what it holds (see TargetEnd.Known), and gets what is different.
	Resync bool `json:"resync,omitempty"`
}

// PrepareRequest asks the target for somewhere to write.
type PrepareRequest struct {
	Generation int64         `json:"generation"`
	Domain     string        `json:"domain"` // source domain's name, as in the stream
	Checkpoint string        `json:"checkpoint"`
	Parent     string        `json:"parent,omitempty"`
	Disks      []PrepareDisk `json:"disks"`
	// Adopt has a replica without states take over the checkpoint's pair, until the
	// end is closed without a state.
	Adopt bool `json:"adopt,omitempty"`
	// Resume lets the target go on with what an earlier run did not bring to its end.
	// It tells what it holds of such disks, too. What this run does not bring to its end
	// is kept for the next.
	Resume bool `json:"resume,omitempty"`
	Lanes  int  `json:"lanes,omitempty"` // connections for the stream; 0 is 1
	// Patience is how much longer than usual the target is to wait for the stream.
	Patience time.Duration `json:"patience,omitempty"`
	// Direct asks the target to listen for the source as well.
	Direct *ListenDirect `json:"direct,omitempty"`
}

// Prepared is the target ready to receive.
type Prepared struct {
	Socket string `json:"socket"` // unix socket on the target that takes the stream
	// Direct is where else it takes the stream. If it was asked to and does not,
	// NotDirect says why.
	Direct    *DirectTarget `json:"direct,omitempty"`
	NotDirect string        `json:"not_direct,omitempty"`
	// Known are the disks of which the source is to learn what the target holds.
	Known []KnownDisk `json:"known,omitempty"`
}

// CommitRequest asks the target to make the received state its head.
type CommitRequest struct {
	Time         time.Time     `json:"time"`
	Consistency  Consistency   `json:"consistency"`
	Frozen       time.Duration `json:"frozen"`
	SourceDomain string        `json:"source_domain"`
	SourceUUID   string        `json:"source_uuid"`
	SourceHost   string        `json:"source_host"` // as the user named it, for people
	SourceHostID string        `json:"source_host_id"`
	DomainXML    string        `json:"domain_xml"`
	Disks        []DiskResult  `json:"disks"`
	// LeftOut names the source's disks that are not part of the replica.
	LeftOut []string `json:"left_out,omitempty"`
	// Keep is the retention policy from now on; empty leaves it as it is.
	Keep  string `json:"keep,omitempty"`
	NVRAM Packed `json:"nvram,omitempty"` // see [Begun]
	TPM   Packed `json:"tpm,omitempty"`   // see [Begun]
	// Group is the set that the state belongs to; nil for none.
	Group *Set `json:"group,omitempty"`
}

// Committed is a state that is durable.
type Committed struct {
	State string `json:"state"` // e.g. "2026-11-21T070301Z"
}

// Settled is what Settle could not do; empty when all is done.
type Settled struct {
	Warnings []string `json:"warnings,omitempty"`
}
