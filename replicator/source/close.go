package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

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

	var errs []error
	if e.attempt != nil {
		e.letGo(e.attempt)
	}
	if e.frozen {
		if err := e.thaw(ctx); err != nil {
			errs = append(errs, e.fail("", "thaw the guest", "the guard goes on trying for 10 minutes", err))
		}
	}
	if e.session != nil {
		e.session.Stop()
	}
	// What it found is told by Wait, or nobody asks any more.
	_ = e.watcher.stop()
	if e.run != nil {
		errs = append(errs, e.undo(ctx))
	}
	errs = append(errs, e.dismissGuard())
	e.known.close()
	if e.dom != nil && e.lock != nil && !e.readOnly {
		errs = append(errs, os.RemoveAll(e.hashFolder()))
	}
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
		_, err := e.endJob(ctx)
		if errors.Is(err, ours.ErrStopping) {
			e.log.Info("backup job left to the guard", "domain", e.dom.Name, "reason", err)
		} else if err != nil {
			errs = append(errs, e.fail("", "end the backup job", "the next sync of this domain ends it", err))
		}
	}
	// Once the stream is handed over the target may have made it its head: deleting
	// its checkpoint would lose the baseline. Of a described one the controller has the
	// last word, which it never said.
	if e.run.made && (!e.handed || e.run.described) && !e.run.job {
		err := e.deleteCheckpoint(ctx, e.run.checkpoint)
		if err == nil {
			err = e.unpend(e.run)
		}
		if errors.Is(err, errOff) {
			e.log.Info("checkpoint left for the next sync to delete", "domain", e.dom.Name, "checkpoint", e.run.checkpoint)
		} else if err != nil {
			errs = append(errs, e.fail("", "delete checkpoint "+e.run.checkpoint, "the next sync of this domain deletes it", err))
		}
	}
	if !e.run.job {
		if err := os.RemoveAll(e.exportFolder()); err != nil {
			errs = append(errs, e.fail("", "remove the export's folder", "", err))
		}
	}
	if err := os.RemoveAll(e.run.dir); err != nil {
		errs = append(errs, e.fail("", "remove the stream's folder", "", err))
	}
	return errors.Join(errs...)
}

// unpend takes back the mark of a run's checkpoint, if it has made one.
func (e *End) unpend(r *run) error {
	if !r.described {
		return nil
	}
	return ours.Unpend(e.opts.Place.RunDir, e.dom.UUID)
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

// Abandon implements replicator.SourceEnd.
func (e *End) Abandon(context.Context) error {
	if e.closed || e.run == nil || !e.handed {
		return e.sequence("abandon the backup")
	}
	e.handed = false
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

// deleteCheckpoint deletes a checkpoint of ours with its bitmaps, be it one that
// libvirt does not know, or, where the bitmaps are gone, makes libvirt forget it.
func (e *End) deleteCheckpoint(ctx context.Context, name string) error {
	if pair, _, ok := replicator.ParseCheckpointName(name); !ok || pair != e.pair {
		return fmt.Errorf("checkpoint %s is not one of pair %s", name, e.pair)
	}
	if err := e.removeCheckpoint(ctx, name); err != nil || !e.stray[name] {
		return err
	}
	if err := e.dropBitmaps(ctx, name); err != nil {
		return err
	}
	delete(e.stray, name)
	return nil
}

// removeCheckpoint is deleteCheckpoint for a checkpoint that is known to be ours.
func (e *End) removeCheckpoint(ctx context.Context, name string) error {
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
	if err := e.dom.DeleteCheckpoint(ctx, name, true); err != nil {
		return err
	}
	// One bitmap that is missing has kept libvirt from deleting the others.
	return e.dropBitmaps(ctx, name)
}

// Finish implements replicator.SourceEnd.
func (e *End) Finish(ctx context.Context, drop []string) error {
	const op = "finish the backup"
	if e.closed || e.run == nil || !e.handed {
		return e.sequence(op)
	}
	hitFinish()
	e.run.made = false // it is the next baseline now
	if err := e.unpend(e.run); err != nil {
		return e.fail("", op, "", err)
	}
	e.session.Stop()
	if err := e.watcher.stop(); err != nil {
		e.log.Warn("found while the target kept the state", "domain", e.dom.Name, "error", err)
	}
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
