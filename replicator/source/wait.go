package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vmsync/replicator"
)

const (
	// stateLag is how long libvirt may take to notice that qemu is gone.
	stateLag     = 3 * time.Second
	diagnoseTick = 250 * time.Millisecond
)

// Wait implements replicator.SourceEnd.
func (e *End) Wait(ctx context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	const op = "send the stream"
	if e.closed || e.session == nil || e.handed {
		return nil, e.sequence(op)
	}
	// The watcher ends the session's wait when it finds the domain in trouble. What it
	// found counts for more than how the session ended of it.
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-e.watcher.done:
			stop()
		case <-waiting.Done():
		}
	}()
	disks, traffic, err := e.session.Wait(waiting, func(p replicator.Progress) {
		e.watcher.note(p)
		if progress != nil {
			progress(p)
		}
	})
	if err == nil {
		err = e.keepHashes(ctx)
	}
	if err == nil {
		e.handed = true
		e.watcher.handed.Store(true)
		result := &replicator.StreamResult{Traffic: traffic}
		for _, d := range disks {
			result.Disks = append(result.Disks, replicator.DiskResult(d))
		}
		return result, nil
	}
	trouble := e.watcher.stop()
	if trouble != nil {
		return nil, trouble
	}
	if ctx.Err() != nil {
		return nil, e.fail("", op, "", context.Cause(ctx))
	}
	return nil, e.diagnose(ctx, e.withDomain(op, err))
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
		timer := time.NewTimer(diagnoseTick)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return err
}
