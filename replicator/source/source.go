// Package source is the source end of a sync: it looks at a domain of this host,
// freezes its guest, begins a backup with its checkpoint, thaws, offers the changed
// extents through vmsync-nbd, and ends all of that.
//
// It must never leave a guest frozen: a guard process (package guard) is started
// before the freeze and outlives this one. It never ends a job and never deletes a
// checkpoint or file that is not vmsync's by its name.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

// Options of New. The zero value is what an agent uses.
type Options struct {
	RunDir string // ours.RunDir if empty
	// Guard is the command that runs guard.Main; this program's "guard" if empty.
	Guard []string
	// DataPlane is the path of vmsync-nbd; searched for if empty.
	DataPlane string
	Log       *slog.Logger // discarded if nil
}

// End implements replicator.SourceEnd. It serves one run and one goroutine; only
// when no other method runs may Close be called.
type End struct {
	opts Options
	log  *slog.Logger

	conn *libvirt.Conn
	lock *ours.Lock
	dom  *libvirt.Domain
	pair string
	// What Inspect saw.
	disks       map[string]replicator.SourceDisk
	drives      []domainxml.Disk // every disk of the domain, in its order
	checkpoints []replicator.SourceCheckpoint

	guard   *guard.Client
	frozen  bool // the guest may be frozen by us
	run     *run
	session *dataplane.Session
	handed  bool // Wait has returned a result
	closed  bool
}

// run is what Begin began.
type run struct {
	checkpoint string
	job        bool // our job may exist
	made       bool // the checkpoint may exist and is not yet the next baseline
	certain    bool // Begin saw the job; if not, it may still appear
	scratch    []scratchFile
	dir        string // of the stream's socket
}

// scratchFile is where a disk's old blocks go while the guest overwrites them.
type scratchFile struct {
	disk string
	path string
	size int64 // bytes it may grow to: the disk's size
}

var _ replicator.SourceEnd = (*End)(nil)

// New makes an end. It does nothing yet; Close must be called in any case.
func New(opts Options) *End {
	if opts.RunDir == "" {
		opts.RunDir = ours.RunDir
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &End{opts: opts, log: opts.Log}
}

// fail makes the error that the controller gets, with a kind from libvirt's code
// unless the caller knows better.
func (e *End) fail(kind, op, hint string, err error) error {
	if kind == "" {
		kind = kindOf(err)
	}
	name := ""
	if e.dom != nil {
		name = e.dom.Name
	}
	return &replicator.Error{Kind: kind, Domain: name, Op: op, Hint: hint, Err: withoutDomain(op, err)}
}

// withoutDomain keeps libvirt's error but not a second mention of domain and
// operation in its text.
func withoutDomain(op string, err error) error {
	call, ok := err.(*libvirt.Error)
	if !ok {
		return err
	}
	text := call.Text()
	if call.Op != op {
		text = call.Op + ": " + text
	}
	return &retold{text: text, err: err}
}

type retold struct {
	text string
	err  error
}

func (r *retold) Error() string { return r.text }
func (r *retold) Unwrap() error { return r.err }

func kindOf(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return replicator.KindCanceled
	case errors.Is(err, errOff):
		return replicator.KindDomainOff
	case errors.Is(err, libvirt.ErrNoDomain):
		return replicator.KindUnknownDomain
	case errors.Is(err, libvirt.ErrDisconnected):
		return replicator.KindUnreachable
	case errors.Is(err, libvirt.ErrDenied), errors.Is(err, os.ErrPermission):
		return replicator.KindDenied
	case errors.Is(err, libvirt.ErrCheckpointInconsistent), errors.Is(err, libvirt.ErrNoCheckpoint):
		return replicator.KindCheckpointInconsistent
	case errors.Is(err, libvirt.ErrTimeout):
		return replicator.KindJobActive
	}
	if _, ok := errors.AsType[*replicator.BusyError](err); ok {
		return replicator.KindBusy
	}
	return replicator.KindOf(err)
}

// sequence is the error of a call that came out of order.
func (e *End) sequence(op string) error {
	return e.fail(replicator.KindSequence, op, "", errors.New("called out of order"))
}

// errOff says that checkpoints cannot be deleted with their bitmaps now.
var errOff = errors.New("the domain does not run")

// closeTimeout bounds Close.
const closeTimeout = 30 * time.Second

// Close implements replicator.SourceEnd. It returns within about 30 s with a context
// of its own. What it could not end is left to the guard, and to the next run.
func (e *End) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()

	if e.session != nil {
		e.session.Stop()
	}
	var errs []error
	if e.frozen {
		if err := e.thaw(ctx); err != nil {
			errs = append(errs, e.fail("", "thaw the guest", "the guard goes on trying for 10 minutes", err))
		}
	}
	if e.run != nil {
		errs = append(errs, e.undo(ctx))
	}
	errs = append(errs, e.dismissGuard())
	e.lock.Release()
	if e.conn != nil {
		e.conn.Close()
	}
	return errors.Join(errs...)
}

// undo ends what Begin began and Finish has not.
func (e *End) undo(ctx context.Context) error {
	var errs []error
	if e.run.job {
		if _, err := e.endJob(ctx); err != nil {
			errs = append(errs, e.fail("", "end the backup job", "the next sync of this domain ends it", err))
		}
	}
	// Once the stream is handed over the target may have made it its head: deleting
	// its checkpoint would lose the baseline.
	if e.run.made && !e.handed && !e.run.job {
		err := e.deleteCheckpoint(ctx, e.run.checkpoint)
		if errors.Is(err, errOff) {
			e.log.Info("checkpoint left for the next sync to delete", "domain", e.dom.Name, "checkpoint", e.run.checkpoint)
		} else if err != nil {
			errs = append(errs, e.fail("", "delete checkpoint "+e.run.checkpoint, "the next sync of this domain deletes it", err))
		}
	}
	if err := os.RemoveAll(e.run.dir); err != nil {
		errs = append(errs, e.fail("", "remove the stream's folder", "", err))
	}
	return errors.Join(errs...)
}

// dismissGuard lets the guard go, unless something is left for it.
func (e *End) dismissGuard() error {
	if e.guard == nil {
		return nil
	}
	if e.frozen || e.run != nil && e.run.job {
		e.guard.Abandon()
		return nil
	}
	if err := e.guard.Dismiss(); err != nil {
		return e.fail("", "dismiss the guard", "", err)
	}
	return nil
}

// endJob ends our backup job and waits until it is gone. ended is false if there was
// none.
func (e *End) endJob(ctx context.Context) (ended bool, err error) {
	checkpoint := e.run.checkpoint
	ended, err = ours.EndJob(ctx, e.dom, func(b *libvirt.Backup) bool { return ours.IsJobOf(b, checkpoint) })
	if err != nil {
		return ended, err
	}
	if !ended && !e.run.certain {
		// Libvirt never answered our call: the job may still appear. The guard stays
		// and looks.
		return false, nil
	}
	e.run.job = false
	if e.guard != nil {
		if err := e.guard.Tell(guard.Message{Event: guard.EventEnded}); err != nil {
			e.log.Warn("the guard is gone", "error", err)
		}
	}
	return ended, nil
}

// deleteCheckpoint deletes a checkpoint of ours with its bitmaps, or, where the
// bitmaps are gone, makes libvirt forget it.
func (e *End) deleteCheckpoint(ctx context.Context, name string) error {
	if pair, _, ok := replicator.ParseCheckpointName(name); !ok || pair != e.pair {
		return fmt.Errorf("checkpoint %s is not one of pair %s", name, e.pair)
	}
	err := e.dom.DeleteCheckpoint(ctx, name, false)
	if err == nil || ctx.Err() != nil || errors.Is(err, libvirt.ErrDisconnected) ||
		errors.Is(err, libvirt.ErrDenied) || errors.Is(err, libvirt.ErrTimeout) {
		return err
	}
	state, stateErr := e.dom.State(ctx)
	if stateErr != nil {
		return err
	}
	if !state.BackupPossible() {
		// The bitmaps may be well in the image, where nothing can delete them now.
		return fmt.Errorf("%w (%s)", errOff, state)
	}
	e.log.Info("checkpoint without usable bitmaps: libvirt is told to forget it", "domain", e.dom.Name, "checkpoint", name, "error", err)
	return e.dom.DeleteCheckpoint(ctx, name, true)
}

// Finish implements replicator.SourceEnd.
func (e *End) Finish(ctx context.Context, drop []string) error {
	const op = "finish the backup"
	if e.closed || e.run == nil || !e.handed {
		return e.sequence(op)
	}
	hitFinish()
	e.run.made = false // it is the next baseline now
	e.session.Stop()
	if e.run.job {
		if _, err := e.endJob(ctx); err != nil {
			return e.fail("", "end the backup job", "the next sync of this domain ends it", err)
		}
	}
	hitDrop()
	var errs []error
	for _, name := range drop {
		if name == e.run.checkpoint {
			errs = append(errs, e.fail(replicator.KindRequest, op, "", fmt.Errorf("asked to drop the new checkpoint %s", name)))
			continue
		}
		if err := e.deleteCheckpoint(ctx, name); err != nil {
			errs = append(errs, e.fail("", "delete checkpoint "+name, "the next sync of this domain deletes it", err))
		}
	}
	return errors.Join(errs...)
}

// runFolder is where the stream's socket of a checkpoint lives. Its name tells it
// from the target end's, which may be on the same host.
func (e *End) runFolder(checkpoint string) string {
	return filepath.Join(e.opts.RunDir, "run", "source-"+checkpoint)
}

// hasCheckpoint says whether a checkpoint seen by Inspect tracks a disk.
func (e *End) hasCheckpoint(name, disk string) bool {
	for _, c := range e.checkpoints {
		if c.Name == name {
			return slices.Contains(c.Disks, disk)
		}
	}
	return false
}
