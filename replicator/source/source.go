// Package source is the source end of a sync: it looks at a domain of this host,
// freezes its guest, begins a backup with its checkpoint, thaws, offers the changed
// extents through vmsync-nbd, and ends all of that.
//
// It must never leave a guest frozen: a guard process (package guard) is started
// before the freeze and outlives this one. It never ends a job and never deletes a
// checkpoint or file that is not vmsync's by its name.
package source

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/pin"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

// Options of New. The zero value is what an agent uses.
type Options struct {
	Place ours.Place // ours.Here if empty
	// Guard is the command that runs guard.Main; this program's "guard" if empty.
	Guard []string
	// DataPlane is the path of vmsync-nbd; searched for if empty.
	DataPlane string
	// SeenFrom is the address that the controller's connection came from, if any.
	SeenFrom string
	// ForClient is for a controller that came over TLS and may be hostile: the stream goes
	// nowhere but to where the controller is, and its socket is in StreamFolder.
	ForClient bool
	// Machines are patterns, of [path.Match], of the names of the domains that the
	// controller may have; all if empty.
	Machines []string
	// StreamFolder is where the stream's socket is; below RunDir if empty.
	StreamFolder string
	Log          *slog.Logger // discarded if nil
}

// End implements replicator.SourceEnd. It serves one run and one goroutine; only
// when no other method runs may Close be called.
type End struct {
	opts Options
	log  *slog.Logger

	identity pin.Identity // the sender's, for this run

	conn   *libvirt.Conn
	hostID string // libvirt's
	lock   *ours.Lock
	dom    *libvirt.Domain
	pair   string // whose checkpoint Begin makes
	// What Inspect saw.
	disks       map[string]replicator.SourceDisk
	drives      []domainxml.Disk // every disk of the domain, in its order
	checkpoints []replicator.SourceCheckpoint
	// stray are checkpoints that libvirt does not know and of which there may be
	// bitmaps.
	stray map[string]bool

	guard       *guard.Client
	frozen      bool // the guest may be frozen by us
	frozenSince time.Time
	frozenFor   time.Duration // of the last freeze, when it is over
	known       known
	attempt     *attempt // of a group, between Ready and Thaw
	run         *run
	watcher     *watcher // of the job, from when it has begun
	session     *dataplane.Session
	hashes      map[string]string // files with what Wait has hashed, by disk
	handed      bool              // Wait has returned a result
	readOnly    bool              // only a look was asked for
	closed      bool
}

// run is what Begin began.
type run struct {
	checkpoint string
	job        bool   // our job may exist
	made       bool   // the checkpoint may exist and is not yet the next baseline
	certain    bool   // Begin saw the job; if not, it may still appear
	described  bool   // the stream describes its state: the checkpoint stays only after Finish
	dir        string // of the stream's socket
}

var _ replicator.SourceEnd = (*End)(nil)

// New makes an end. It does nothing yet; Close must be called in any case.
func New(opts Options) *End {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &End{opts: opts, log: opts.Log, stray: make(map[string]bool)}
}

// streamFolder is where the stream's socket lives.
func (e *End) streamFolder() string { return cmp.Or(e.opts.StreamFolder, e.runFolder()) }

// runFolder is the run's own. The lock allows one run for each domain.
func (e *End) runFolder() string { return filepath.Join(e.opts.Place.RunDir, "source", e.dom.UUID) }

// hasCheckpoint says whether a checkpoint seen by Inspect tracks a disk.
func (e *End) hasCheckpoint(name, disk string) bool {
	for _, c := range e.checkpoints {
		if c.Name == name {
			return slices.Contains(c.Disks, disk)
		}
	}
	return false
}
