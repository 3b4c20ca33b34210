package source

import (
	"context"
	"errors"
	"time"

	"vmsync/replicator"
)

// steps is what an attempt has come to whose steps the controller takes one by one, so
// that other machines' checkpoints are made between its own freeze and thaw.
type steps struct {
	next   step
	frozen freezing
	until  time.Time // the guest is thawed then
	hold   *hold     // sees to that while no step is under way
	late   bool      // it was
	began  *replicator.Begun
}

// step is the one that is to come.
type step int

const (
	stepFreeze step = iota
	stepCheckpoint
	stepThaw
)

// tooLong is why a guest was thawed before the others' checkpoints were made.
const tooLong = "the guest could not stay frozen any longer for the other machines of its group, and was thawed before their checkpoints were all made"

// Ready implements replicator.SourceSteps.
func (e *End) Ready(ctx context.Context, req replicator.BeginRequest) error {
	if req.HashOnly || req.Describe != nil {
		return e.fail(replicator.KindRequest, "begin the backup", "", errors.New("this cannot be done together with other machines"))
	}
	a, err := e.ready(ctx, req)
	if err != nil {
		return err
	}
	if req.Quiesce != replicator.QuiesceNo {
		if a.frozen = e.askAgent(ctx, a.state, req.FreezeMountpoints); a.frozen.ok {
			e.unboundAgent(ctx)
		}
		if err := e.mustBeFrozen(a, a.frozen); err != nil {
			return err
		}
	}
	e.attempt = a
	return nil
}

// Freeze implements replicator.SourceSteps.
func (e *End) Freeze(ctx context.Context) error {
	a, err := e.take(stepFreeze, "freeze the guest")
	if err != nil {
		return err
	}
	if a.frozen.ok {
		if a.frozen, err = e.quiesceAsked(context.WithoutCancel(ctx), a, a.frozen, replicator.FreezeLimit); err != nil {
			return err
		}
	}
	a.until = time.Now().Add(replicator.LongestHold)
	e.holdOn(a)
	hitFreeze()
	return nil
}

// Checkpoint implements replicator.SourceSteps.
func (e *End) Checkpoint(ctx context.Context) error {
	a, err := e.take(stepCheckpoint, "begin the backup")
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if e.letGo(a); a.late {
		if err := e.thawAtOnce(ctx); err != nil {
			return err
		}
		if a.req.Quiesce == replicator.QuiesceRequired {
			return e.notHeld()
		}
		a.frozen = freezing{warning: tooLong}
	}
	a.began = &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyFilesystem, Warning: a.frozen.warning}
	err = e.beginBackup(ctx, a, time.Until(a.until))
	hitBegin()
	if err == nil {
		err = e.judge(a, a.began, a.frozen.ok, e.stillFrozen(), tooLong)
	}
	if err != nil {
		return errors.Join(err, e.thawAtOnce(ctx))
	}
	e.holdOn(a)
	e.watcher = e.startWatch(a.rooms, a.state.PausedByIOError())
	return nil
}

// Thaw implements replicator.SourceSteps.
func (e *End) Thaw(ctx context.Context) (*replicator.Begun, error) {
	a, err := e.take(stepThaw, "thaw the guest")
	if err != nil {
		return nil, err
	}
	e.letGo(a)
	began := a.began
	began.StoodStill = a.frozen.ok && !a.late && e.frozen && e.stillFrozen()
	if err := e.thawAtOnce(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	hitThaw()
	began.Frozen = e.frozenFor
	if a.frozen.ok && !began.StoodStill && began.Warning == "" {
		began.Warnings = append(began.Warnings, tooLong)
	}
	if !began.StoodStill && a.req.Quiesce == replicator.QuiesceRequired {
		return nil, e.notHeld()
	}
	e.attempt = nil
	if err := e.checkBegun(ctx, a); err != nil {
		return nil, err
	}
	return began, e.offer(ctx, a, began)
}

// Release implements replicator.SourceSteps.
func (e *End) Release(ctx context.Context) error {
	const op = "take the backup back"
	if e.closed || e.attempt == nil {
		return e.sequence(op)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	e.letGo(e.attempt)
	if err := e.thawAtOnce(ctx); err != nil {
		return err
	}
	// What it found, the next Ready finds as well.
	_ = e.watcher.stop()
	e.watcher = nil
	if e.run != nil {
		if err := e.undo(ctx); err != nil {
			return err
		}
		if e.run.job {
			return e.fail(replicator.KindDomainStopped, op, "sync again when it runs", errors.New("the backup job is still there"))
		}
	}
	e.run, e.attempt = nil, nil
	return nil
}

// take begins a step, which must be the next one.
func (e *End) take(s step, op string) (*attempt, error) {
	if e.closed || e.attempt == nil || e.attempt.next != s {
		return nil, e.sequence(op)
	}
	e.attempt.next++
	return e.attempt, nil
}

func (e *End) notHeld() error {
	return e.fail(replicator.KindNotFrozen, "begin the backup", "see which machine of the group was slow, or let the sync go on without: quiesce: preferred",
		errors.New(tooLong))
}

// hold thaws a guest at a moment. Until stop has returned nobody else may thaw it or ask
// whether it is frozen.
type hold struct {
	cancel context.CancelFunc
	done   chan struct{}
	late   bool // the moment has come; set before done is closed and not read before
}

// holdOn sees to it that a guest that may be frozen is thawed in time, whatever becomes of
// the controller.
func (e *End) holdOn(a *attempt) {
	if !e.frozen {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &hold{cancel: cancel, done: make(chan struct{})}
	a.hold = h
	go func() {
		defer close(h.done)
		timer := time.NewTimer(time.Until(a.until))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		h.late = true
		e.log.Warn("the guest is thawed, for it has waited too long for the other machines of its group", "domain", e.dom.Name)
		if err := e.thawAtOnce(ctx); err != nil {
			e.log.Error("the guest cannot be thawed yet", "domain", e.dom.Name, "error", err)
		}
	}()
}

// letGo takes over from the hold. A guest that was to be thawed, and e.frozen says that it
// may not be yet, may be thawed all the same.
func (e *End) letGo(a *attempt) {
	if a.hold == nil {
		return
	}
	a.hold.cancel()
	<-a.hold.done
	a.late = a.late || a.hold.late
	a.hold = nil
}
