package replicator

import (
	"context"
	"time"
)

// SourceEnd is the host whose domain is replicated. One SourceEnd serves one
// run; its methods are called one at a time, in the order of this interface.
type SourceEnd interface {
	SourceSteps
	// List tells which domains the host has, sorted by name. It takes no lock and changes
	// nothing; it may be called any number of times, and only before Inspect.
	List(ctx context.Context) ([]SourceDomain, error)
	// Peek tells by marks what has changed in domains, in the marks' order. Like List it
	// takes no lock and changes nothing, may be called any number of times, and only before
	// Inspect. A domain of which nothing can be told, within some seconds, keeps nothing
	// from being told of the others.
	Peek(ctx context.Context, marks []Mark) ([]Peek, error)
	// Inspect takes the run's lock on the domain and tells what is there. It ends
	// leftovers of dead runs: backup jobs that vmsync began, scratch files, guests
	// left frozen; it names them in SourceView.Cleaned. It never touches another
	// program's job or checkpoint. A lock that is held gives an error of KindBusy.
	// A look that is ReadOnly takes no lock that is held and ends nothing.
	Inspect(ctx context.Context, req InspectRequest) (*SourceView, error)
	// Changed tells, for each disk that a checkpoint of vmsync's tracks, how many bytes
	// its dirty bitmap covers: at least what the guest has written since, in whole pieces
	// of the bitmap's granularity. It follows Inspect, also one that is ReadOnly, and
	// changes nothing.
	Changed(ctx context.Context, checkpoint string) (map[string]int64, error)
	// TakeKnown gets a part of what the target holds of a disk. All parts come before
	// Begin, those of a disk in order.
	TakeKnown(ctx context.Context, part KnownPart) error
	// Begin freezes the guest, begins checkpoint and pull backup in one libvirt
	// call, thaws, and starts the data plane on the export. For machines whose
	// checkpoints are to be taken together there is SourceSteps in its stead.
	Begin(ctx context.Context, req BeginRequest) (*Begun, error)
	// Wait returns when the stream has been handed over in full, or with HashOnly when
	// all has been read.
	Wait(ctx context.Context, progress func(Progress)) (*StreamResult, error)
	// Hashed returns the next part of the index of what a disk held when the parent's
	// checkpoint was made, after a Begin with HashOnly and its Wait. Blocks that have
	// changed since have the hash [ChangedSince]; absent ones are zeros.
	Hashed(ctx context.Context, req KnownRequest) (*KnownPart, error)
	// Finish ends the backup job, then deletes the checkpoints named in drop. Call
	// it only when the target has durably accepted the state.
	Finish(ctx context.Context, drop []string) error
	// Abandon says, after Wait has returned a result, that the target has not accepted
	// the state and nobody will ask it to: Close then deletes the checkpoint as well.
	Abandon(ctx context.Context) error
	// Hook runs a hook on the source's host or in the guest, and returns when nothing of
	// it is left; of one in a guest, which takes too long, that cannot be promised. It may
	// be called at any time after Inspect, also after a method that has failed. Lines of
	// its output are passed on as they come, up to a bound. The error is of
	// KindHookFailed if it did not end well in its time.
	Hook(ctx context.Context, req HookRequest, output func(line string)) error
	// Close ends everything the run began and has not finished: the data plane, the
	// backup job, the checkpoint Begin made; and releases the lock. The guest is
	// thawed when it returns, or a guard goes on trying. Once Wait has returned a
	// result the checkpoint stays, but for Abandon: the target may have accepted the
	// state, and one that it has not is for the next run to put into Forget. The checkpoint of a
	// stream that describes its state stays only once Finish was called: no target
	// tells later what became of it.
	Close() error
}

// SourceDomain is a domain of a source's host.
type SourceDomain struct {
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	Running bool   `json:"running"` // or paused, not shut off
	// Replica says that it is one of vmsync's, which was not promoted.
	Replica bool `json:"replica,omitempty"`
}

// InspectRequest asks for the source's view of a domain.
type InspectRequest struct {
	Domain string `json:"domain"`        // name or UUID
	Run    string `json:"run,omitempty"` // the run's id, for the log; may be empty
	// ReadOnly asks for a look that changes nothing and waits for nobody: leftovers are
	// named, not ended, and a lock that is held is no error. Only Close may follow.
	ReadOnly bool `json:"read_only,omitempty"`
}

// SourceDisk is a disk of the source domain, whether it can be replicated or not.
type SourceDisk struct {
	Name   string `json:"name"` // target device
	Path   string `json:"path,omitempty"`
	Format string `json:"format,omitempty"` // "qcow2", "raw", ...
	Size   int64  `json:"size"`             // virtual size in bytes
	// Unfit says in words why the disk cannot be replicated; empty when it can.
	Unfit string `json:"unfit,omitempty"`
	// Ignored is set for media that no one expects in a replica: cdroms, floppies
	// and empty drives.
	Ignored bool `json:"ignored,omitempty"`
}

// SourceCheckpoint is one checkpoint that vmsync made on the source.
type SourceCheckpoint struct {
	Name       string   `json:"name"`
	Generation int64    `json:"generation"`
	Disks      []string `json:"disks"` // disks whose changes it tracks
}

// SourceView is what the source looks like before anything is begun.
//
// Orphans are bitmaps of vmsync's names, of all pairs, whose checkpoint libvirt does
// not know any more. Those of the pair that is replicated may serve as a parent
// ([BeginRequest] Adopt) or be deleted (Forget); another pair's are its own to judge.
// The list may lack some: what was made since the domain started is in qemu's memory
// only.
type SourceView struct {
	Name        string             `json:"name"`
	UUID        string             `json:"uuid"`
	HostID      string             `json:"host_id"` // libvirt's host UUID: tells whether both ends are one host
	Running     bool               `json:"running"` // running or paused: a backup is possible
	State       string             `json:"state"`   // in words, for messages
	Disks       []SourceDisk       `json:"disks"`
	Checkpoints []SourceCheckpoint `json:"checkpoints"` // vmsync's, of all pairs
	Orphans     []SourceCheckpoint `json:"orphans,omitempty"`
	// BusyWith names a job of somebody else that excludes a backup now ("migration",
	// "backup", …); empty when there is none.
	BusyWith string `json:"busy_with,omitempty"`
	// JobLost says that it is one that libvirt has lost the record of, so that nobody can
	// end it, see libvirt.JobVague.
	JobLost bool `json:"job_lost,omitempty"`
	// Shape is that of the domain where it runs, as [Mark] has it.
	Shape   Shape    `json:"shape"`
	Cleaned []string `json:"cleaned,omitempty"` // leftovers ended, in words
	// Leftovers are what the next run would end, in words, and HeldBy says who holds the
	// lock; only of a look that is ReadOnly. While somebody holds it there are no
	// leftovers: what is there is in use.
	Leftovers []string `json:"leftovers,omitempty"`
	HeldBy    string   `json:"held_by,omitempty"`
	// Certificate is what the sender of the stream will prove itself with on a direct
	// connection, in PEM. It is made for this run.
	Certificate string `json:"certificate"`
	// SeenFrom is the address that the controller's connection, over SSH or TLS, came from,
	// as the source saw it; empty where there is none.
	SeenFrom string `json:"seen_from,omitempty"`
	// OverTLS says that it came over TLS.
	OverTLS  bool     `json:"over_tls,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// BeginDisk is one disk to export.
type BeginDisk struct {
	Name string `json:"name"`
	// Parent is the checkpoint to be incremental to; empty for the whole disk.
	Parent string `json:"parent,omitempty"`
	// Known says that TakeKnown got what the target holds of it: only what is different
	// is sent. KnownPart is set where blocks that it does not tell of are not zeros.
	Known     bool `json:"known,omitempty"`
	KnownPart bool `json:"known_part,omitempty"`
}

// BeginRequest asks the source to begin.
type BeginRequest struct {
	Checkpoint string      `json:"checkpoint"`
	Parent     string      `json:"parent,omitempty"`
	Disks      []BeginDisk `json:"disks"`
	// Adopt names checkpoints of this pair to build on which libvirt does not know and
	// whose bitmaps may still be there: libvirt is told of them again. Where that fails
	// the error is of KindCheckpointInconsistent, as with any parent that is unusable.
	Adopt []string `json:"adopt,omitempty"`
	// Forget names checkpoints of this pair that no longer serve: they are deleted
	// before the backup begins (plainly, or their metadata where the bitmap is gone).
	// Orphans may be among them.
	Forget   []string `json:"forget,omitempty"`
	Compress string   `json:"compress,omitempty"`
	Rate     int64    `json:"rate,omitempty"`  // bytes of stream per second; 0 is no limit
	Lanes    int      `json:"lanes,omitempty"` // connections for the stream; 0 is 1
	// Patience is how much longer than usual to wait for who takes the stream.
	Patience time.Duration `json:"patience,omitempty"`
	// Direct is where the target listens, if it does. The source tries to connect.
	Direct *DirectTarget `json:"direct,omitempty"`
	// Describe, if not nil, has the stream describe its state, so that it can be
	// received without the source (see [StreamState]).
	Describe *Describe `json:"describe,omitempty"`
	Quiesce  Quiesce   `json:"quiesce,omitempty"`
	// FreezeMountpoints, if not empty, are the only file systems of the guest to freeze.
	FreezeMountpoints []string `json:"freeze_mountpoints,omitempty"`
	// HashOnly asks for hashes of the disks and no stream. Nothing is frozen and no
	// checkpoint is made: Checkpoint is a name of the pair that nothing bears and
	// nothing will, by which the job is known. Every disk needs the parent.
	HashOnly bool `json:"hash_only,omitempty"`
}

// Describe is what the controller knows of a state that a stream is to describe.
type Describe struct {
	SourceHost string   `json:"source_host"` // for people
	LeftOut    []string `json:"left_out,omitempty"`
}

// Begun is a backup that is open on the source.
type Begun struct {
	Time        time.Time   `json:"time"` // the checkpoint's instant by the source's clock
	Consistency Consistency `json:"consistency"`
	Warning     string      `json:"warning,omitempty"` // why the consistency is less than filesystem
	// Warnings are about what is not part of the state although the machine has it.
	Warnings []string `json:"warnings,omitempty"`
	// NVRAM is the file with the UEFI variables, as it is, be it raw or qcow2, read right
	// after the checkpoint; empty if the domain has none or it could not be read. At most
	// MaxNVRAM bytes.
	NVRAM Packed `json:"nvram,omitempty"`
	// TPM is the state of the emulated TPM, a tar archive of regular files named
	// "tpm2/…" or "tpm1.2/…" as in libvirt's folder for the domain; empty if the domain
	// has none or it could not be read. At most MaxTPM bytes of files.
	TPM    Packed        `json:"tpm,omitempty"`
	Frozen time.Duration `json:"frozen"` // how long the guest was frozen
	// StoodStill says that the guest was frozen from before Freeze returned until Thaw was
	// called; only of SourceSteps.
	StoodStill bool        `json:"stood_still,omitempty"`
	DomainXML  string      `json:"domain_xml"` // inactive, migratable, with secrets
	Disks      []BegunDisk `json:"disks"`
	// Direct says that the stream goes from host to host; otherwise NotDirect says
	// why not, if it was tried, and Socket is the unix socket on the source that
	// offers it.
	Direct    bool   `json:"direct,omitempty"`
	NotDirect string `json:"not_direct,omitempty"`
	Socket    string `json:"socket"`
}

// BegunDisk is one exported disk.
type BegunDisk struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"` // bytes at the checkpoint
	Incremental bool   `json:"incremental"`
}
