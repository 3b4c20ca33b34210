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
func (e *End) quiesce(ctx context.Context, a *attempt) (freezing, error) {
	if a.req.Quiesce == replicator.QuiesceNo {
		return freezing{}, nil
	}
	asked := e.askAgent(ctx, a.state, a.req.FreezeMountpoints)
	if !asked.ok {
		return asked, e.mustBeFrozen(a, asked)
	}
	return e.quiesceAsked(ctx, a, asked, ours.AgentTimeout)
}

// quiesceAsked is quiesce once the agent was asked, and has so long for the freeze.
func (e *End) quiesceAsked(ctx context.Context, a *attempt, asked freezing, limit time.Duration) (freezing, error) {
	frozen := e.freeze(ctx, asked, a.req.FreezeMountpoints, limit)
	if err := e.mustBeFrozen(a, frozen); err != nil {
		return frozen, errors.Join(err, e.thawAtOnce(ctx))
	}
	return frozen, nil
}

// mustBeFrozen is the error where the guest is not frozen and must be.
func (e *End) mustBeFrozen(a *attempt, frozen freezing) error {
	if frozen.ok || a.req.Quiesce != replicator.QuiesceRequired {
		return nil
	}
	return e.notFrozen(frozen.warning)
}

func (e *End) notFrozen(why string) error {
	return e.fail(replicator.KindNotFrozen, "begin the backup",
		"see to it that the guest's agent runs, or let the sync go on without: quiesce: preferred", errors.New(why))
}

// beginFrozen freezes, makes the call and thaws on every path.
func (e *End) beginFrozen(ctx context.Context, a *attempt) (*replicator.Begun, error) {
	frozen, err := e.quiesce(ctx, a)
	if err != nil {
		return nil, err
	}
	hitFreeze()
	began := &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyFilesystem, Warning: frozen.warning}
	beginErr := e.beginBackup(ctx, a, longestFreeze)
	hitBegin()
	still := e.stillFrozen()
	if err := e.thawAtOnce(ctx); err != nil {
		return nil, errors.Join(err, beginErr)
	}
	hitThaw()
	if beginErr != nil {
		return nil, beginErr
	}
	began.Frozen = e.frozenFor
	return began, e.judge(a, began, frozen.ok, still, "the backup took so long to begin that the guest was thawed before")
}

// stillFrozen says whether the guest that was frozen still is. Who thaws removes the mark,
// be it the guard of a process that was stopped for long.
func (e *End) stillFrozen() bool {
	still, err := ours.MarkedFrozen(e.opts.Place.RunDir, e.dom.UUID)
	return err == nil && still
}

// judge says what the state can promise, by whether the guest was frozen and still was
// when the backup had begun. Where it can promise less than it must that is an error.
func (e *End) judge(a *attempt, began *replicator.Begun, frozen, still bool, why string) error {
	switch {
	case !frozen:
		began.Consistency = replicator.ConsistencyCrash
	case !still:
		began.Consistency, began.Warning = replicator.ConsistencyCrash, why
		if a.req.Quiesce == replicator.QuiesceRequired {
			return e.notFrozen(why)
		}
	}
	return nil
}

// beginBare begins a backup without a checkpoint, which needs no freeze.
func (e *End) beginBare(ctx context.Context, a *attempt) (*replicator.Begun, error) {
	began := &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyCrash}
	a.checkpointXML = ""
	return began, e.beginBackup(ctx, a, longestFreeze)
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

// callBegin makes the call, and thaws the guest while it goes on if it takes longer
// than patience.
func (e *End) callBegin(ctx context.Context, a *attempt, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- e.dom.BeginBackup(ctx, a.backupXML, a.checkpointXML) }()
	late := time.NewTimer(patience)
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

// beginBackup makes the one call that is the checkpoint's instant. The guest stays frozen
// for it no longer than patience.
func (e *End) beginBackup(ctx context.Context, a *attempt, patience time.Duration) error {
	const op = "begin the backup"
	r := a.run
	e.run = r
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
	r.job, r.made = true, a.checkpointXML != ""
	err := e.callBegin(ctx, a, patience)
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
