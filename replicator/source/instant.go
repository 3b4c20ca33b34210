package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

const (
	// beginTimeout bounds the one call that the guest is frozen for. Libvirt itself
	// gives up after 30 s on a domain that another call holds.
	beginTimeout = 35 * time.Second
	// longestFreeze is how long the guest stays frozen for that call. After it the
	// guest is thawed while the call goes on, and the checkpoint is crash-consistent.
	longestFreeze = 10 * time.Second
)

// quiesce freezes the guest as far as the request wants that. Where it must be frozen and
// cannot be the error is of KindNotFrozen, and the guest is not frozen.
func (e *End) quiesce(ctx context.Context, state libvirt.State, req *replicator.BeginRequest) (freezing, error) {
	if req.Quiesce == replicator.QuiesceNo {
		return freezing{}, nil
	}
	frozen := e.freeze(ctx, state, req.FreezeMountpoints)
	if !frozen.ok && req.Quiesce == replicator.QuiesceRequired {
		return frozen, errors.Join(e.notFrozen(frozen.warning), e.thawAtOnce(ctx))
	}
	return frozen, nil
}

func (e *End) notFrozen(why string) error {
	return e.fail(replicator.KindNotFrozen, "begin the backup",
		"see to it that the guest's agent runs, or let the sync go on without: quiesce: preferred", errors.New(why))
}

// beginFrozen freezes, makes the call and thaws on every path.
func (e *End) beginFrozen(ctx context.Context, state libvirt.State, r *run, req *replicator.BeginRequest, backupXML, checkpointXML string) (*replicator.Begun, error) {
	frozen, err := e.quiesce(ctx, state, req)
	if err != nil {
		return nil, err
	}
	hitFreeze()
	began := &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyFilesystem, Warning: frozen.warning}
	e.run = r
	beginErr := e.beginBackup(ctx, r, backupXML, checkpointXML)
	hitBegin()
	// Who thaws removes the mark, be it the guard of a process that was stopped for
	// long.
	still, markErr := ours.MarkedFrozen(e.opts.Place.RunDir, e.dom.UUID)
	if err := e.thawAtOnce(ctx); err != nil {
		return nil, errors.Join(err, beginErr)
	}
	hitThaw()
	if beginErr != nil {
		return nil, beginErr
	}
	began.Frozen = e.frozenFor
	switch {
	case !frozen.ok:
		began.Consistency = replicator.ConsistencyCrash
	case markErr != nil || !still:
		began.Consistency = replicator.ConsistencyCrash
		began.Warning = "the backup took so long to begin that the guest was thawed before"
		if req.Quiesce == replicator.QuiesceRequired {
			return nil, e.notFrozen(began.Warning)
		}
	}
	return began, nil
}

// beginBare begins a backup without a checkpoint, which needs no freeze.
func (e *End) beginBare(ctx context.Context, r *run, backupXML string) (*replicator.Begun, error) {
	began := &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyCrash}
	e.run = r
	if err := e.beginBackup(ctx, r, backupXML, ""); err != nil {
		return nil, err
	}
	return began, nil
}

// thawAtOnce thaws the guest if it may be frozen.
func (e *End) thawAtOnce(ctx context.Context) error {
	if !e.frozen {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, thawTimeout)
	defer cancel()
	if err := e.thaw(bounded); err != nil {
		return e.fail("", "thaw the guest", "a guard goes on trying for 10 minutes; reset the guest if it hangs", err)
	}
	return nil
}

// callBegin makes the call, and thaws the guest while it goes on if it takes too
// long.
func (e *End) callBegin(ctx context.Context, backupXML, checkpointXML string) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- e.dom.BeginBackup(ctx, backupXML, checkpointXML) }()
	late := time.NewTimer(longestFreeze)
	defer late.Stop()
	select {
	case err := <-result:
		return err
	case <-late.C:
		if err := e.thawAtOnce(ctx); err != nil {
			e.log.Error("the backup takes long to begin, and the guest cannot be thawed yet", "domain", e.dom.Name, "error", err)
		}
		return <-result
	}
}

// beginBackup makes the one call that is the checkpoint's instant.
func (e *End) beginBackup(ctx context.Context, r *run, backupXML, checkpointXML string) error {
	const op = "begin the backup"
	if err := e.guard.Tell(guard.Message{Event: guard.EventBeginning, Domain: e.dom.UUID, Checkpoint: r.checkpoint}); err != nil {
		e.run = nil
		return e.fail("", op, "", err)
	}
	if r.described {
		if err := ours.Pend(e.opts.Place.RunDir, e.dom.UUID, r.checkpoint); err != nil {
			e.run = nil
			return e.fail("", op, "", err)
		}
	}
	r.job, r.made = true, checkpointXML != ""
	err := e.callBegin(ctx, backupXML, checkpointXML)
	if err == nil {
		r.certain = true
		if err := e.guard.Tell(guard.Message{Event: guard.EventBegun}); err != nil {
			return e.fail("", op, "", err)
		}
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, libvirt.ErrDisconnected) {
		// Whether it has begun, or still will, is unknown: Close looks.
		return e.fail(replicator.KindUnreachable, op, "", err)
	}
	// Libvirt refused: it leaves neither job nor checkpoint.
	e.run = nil
	if err := e.unpend(r); err != nil {
		e.log.Warn("the next run looks for a checkpoint that is not there", "domain", e.dom.Name, "error", err)
	}
	if err := e.guard.Tell(guard.Message{Event: guard.EventEnded}); err != nil {
		e.log.Warn("the guard is gone", "error", err)
	}
	return e.refused(ctx, r.checkpoint, err)
}

// refused explains why libvirt began nothing.
func (e *End) refused(ctx context.Context, checkpoint string, err error) error {
	const op = "begin the backup"
	if state, stateErr := e.dom.State(ctx); stateErr == nil && !state.BackupPossible() {
		return e.fail(replicator.KindDomainStopped, op, "", fmt.Errorf("the domain is %s: %w", state, err))
	}
	switch {
	case errors.Is(err, libvirt.ErrUnsupported):
		return e.fail("", op, "incremental backup needs qcow2 images and libvirt 7.2 or newer with qemu 4.2 or newer", err)
	case errors.Is(err, libvirt.ErrTimeout):
		return e.fail("", op, "another program holds the domain; try again later", err)
	case errors.Is(err, libvirt.ErrOperationFailed):
		if all, listErr := e.dom.Checkpoints(ctx); listErr == nil {
			for _, c := range all {
				if c.Name == checkpoint {
					return e.fail(replicator.KindCheckpointInUse, op, "the next sync takes another name", err)
				}
			}
		}
	case errors.Is(err, libvirt.ErrOperationInvalid):
		if job, jobErr := e.dom.Job(ctx); jobErr == nil && job != libvirt.JobNone {
			return e.fail(replicator.KindJobActive, op, "try again when it is done", fmt.Errorf("a %s runs: %w", job, err))
		}
	}
	return e.fail("", op, "", err)
}
