package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/source/ours"
)

// lookOnly is look for somebody who only wants to know: it names what look would end.
// Without the lock, view.HeldBy says so, whatever carries vmsync's names is in use.
func (e *End) lookOnly(ctx context.Context, view *replicator.SourceView) error {
	state, err := e.dom.State(ctx)
	if err != nil {
		return err
	}
	view.Running, view.State = state.BackupPossible(), state.String()
	if err := e.lookAtDisks(ctx, view); err != nil {
		return err
	}
	if view.Running {
		if err := e.lookAtJobs(ctx, state, view); err != nil {
			return err
		}
	}
	if view.HeldBy == "" {
		if err := e.lookForLeftovers(view); err != nil {
			return err
		}
	}
	return e.lookAtCheckpoints(ctx, view)
}

// lookAtJobs tells vmsync's own job, which is a leftover or somebody's at work, from
// others.
func (e *End) lookAtJobs(ctx context.Context, state libvirt.State, view *replicator.SourceView) error {
	backup, err := e.dom.Backup(ctx)
	if err != nil {
		return err
	}
	if ours.IsJob(backup) {
		if view.HeldBy == "" {
			view.Leftovers = append(view.Leftovers, "the backup job of a dead sync")
			if state.PausedByIOError() {
				view.Leftovers = append(view.Leftovers, "the guest is stopped, which that job's scratch file may have done")
			}
		}
		return nil
	}
	job, err := e.job(ctx)
	if err != nil && !errors.Is(err, libvirt.ErrOperationInvalid) {
		return err
	}
	view.JobLost = job == libvirt.JobVague
	if view.BusyWith = job; job != libvirt.JobNone {
		return nil
	}
	return e.lookForBlockJobs(ctx, view)
}

// lookForLeftovers names what dead runs have left in files.
func (e *End) lookForLeftovers(view *replicator.SourceView) error {
	frozen, err := ours.MarkedFrozen(e.opts.Place.RunDir, e.dom.UUID)
	if err != nil {
		return err
	}
	if frozen {
		view.Leftovers = append(view.Leftovers, "the guest, which a dead sync may have left frozen")
	}
	for _, drive := range e.drives {
		if drive.Path == "" || ignored(drive) {
			continue
		}
		files, err := ours.FindScratch(e.image(drive))
		if err != nil {
			return err
		}
		for _, path := range files {
			view.Leftovers = append(view.Leftovers, "the scratch file "+path+" of a dead sync")
		}
	}
	if _, err := os.Lstat(e.runFolder()); err == nil {
		view.Leftovers = append(view.Leftovers, "the folder "+e.runFolder()+" of a dead run")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name, err := ours.ReadPending(e.opts.Place.RunDir, e.dom.UUID)
	if err != nil {
		return err
	}
	if name != "" {
		view.Leftovers = append(view.Leftovers, fmt.Sprintf("the checkpoint %s of a send that did not end", name))
	}
	return nil
}
