package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vmsync/replicator"
)

const (
	watchEvery = time.Second
	// endTimeout bounds the end of the job when the run fails under our hands.
	endTimeout = 20 * time.Second
	// stateLag is how long libvirt may take to notice that qemu is gone.
	stateLag = 3 * time.Second
)

// Wait implements replicator.SourceEnd.
func (e *End) Wait(ctx context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	const op = "send the stream"
	if e.closed || e.session == nil || e.handed {
		return nil, e.sequence(op)
	}
	// The watcher ends the session's wait when it finds the domain in trouble, and has
	// ended itself before this returns. What it found counts for more than how the
	// session ended of it.
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan error, 1)
	go func() {
		trouble := e.watch(waiting)
		stop()
		watched <- trouble
	}()
	disks, traffic, err := e.session.Wait(waiting, progress)
	stop()
	trouble := <-watched
	if err == nil {
		e.handed = true
		result := &replicator.StreamResult{Traffic: traffic}
		for _, d := range disks {
			result.Disks = append(result.Disks, replicator.DiskResult(d))
		}
		return result, nil
	}
	if trouble != nil {
		return nil, trouble
	}
	if ctx.Err() != nil {
		return nil, e.fail("", op, "", context.Cause(ctx))
	}
	return nil, e.diagnose(ctx, e.withDomain(op, err))
}

// watch looks at the domain and the scratch files' room each second. It returns nil
// when ctx ends and an error when the run cannot go on; for want of room it has then
// ended the job and let the guest go on.
func (e *End) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if err := e.watchOnce(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (e *End) watchOnce(ctx context.Context) error {
	full := e.checkScratch(e.run.scratch)
	if full != nil && replicator.KindOf(full) != replicator.KindScratchFull {
		e.log.Warn("cannot watch the scratch files", "error", full)
		full = nil
	}
	state, err := e.dom.State(ctx)
	if err != nil && full == nil {
		// Libvirt may be away for a while; qemu and the copy go on without it.
		if ctx.Err() == nil {
			e.log.Warn("cannot watch the domain", "domain", e.dom.Name, "error", err)
		}
		return nil
	}
	switch {
	case err == nil && !state.BackupPossible():
		return e.stopped(state.String())
	case err == nil && state.PausedByIOError() && full == nil:
		full = e.fail(replicator.KindScratchFull, "keep what the guest overwrites during the copy",
			"free space beside the disk's images, then look at the domain with `virsh domblkerror`",
			errors.New("the guest was stopped by an I/O error while the backup ran"))
	}
	if full == nil {
		return nil
	}
	if err := e.endInTime(); err != nil {
		return errors.Join(full, err)
	}
	return full
}

// endInTime ends the job before the guest is stopped for want of room, or lets it
// run on if it was.
func (e *End) endInTime() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if _, err := e.endJob(ctx); err != nil {
		return e.fail("", "end the backup job", "end it with `virsh domjobabort`", err)
	}
	state, err := e.dom.State(ctx)
	if err != nil || !state.PausedByIOError() {
		return err
	}
	if err := e.dom.Resume(ctx); err != nil {
		return e.fail("", "resume the guest", "resume it with `virsh resume`", err)
	}
	return nil
}

func (e *End) stopped(state string) error {
	return e.fail(replicator.KindDomainStopped, "send the stream", "sync again when it runs", fmt.Errorf("the domain is %s: it stopped during the copy", state))
}

// diagnose finds out why the export went away, if that is what failed.
func (e *End) diagnose(ctx context.Context, err error) error {
	if replicator.KindOf(err) != replicator.KindExport {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stateLag)
	defer cancel()
	for ctx.Err() == nil {
		state, stateErr := e.dom.State(ctx)
		if stateErr == nil && !state.BackupPossible() {
			return e.stopped(state.String())
		}
		if job, jobErr := e.dom.Backup(ctx); jobErr == nil && job == nil && stateErr == nil {
			// Libvirt notices the end of qemu and of a job at about the same time.
			if state, stateErr = e.dom.State(ctx); stateErr == nil && !state.BackupPossible() {
				return e.stopped(state.String())
			}
			return e.fail(replicator.KindExport, "send the stream", "sync again", fmt.Errorf("somebody else ended the backup job: %w", errors.Unwrap(err)))
		}
		timer := time.NewTimer(watchEvery / 4)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return err
}
