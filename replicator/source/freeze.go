package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

const (
	// An agent that lives tells the time at once. Libvirt may add its handshake.
	readyTimeout     = 5 * time.Second
	agentCallTimeout = 3 * readyTimeout
	// freezeMargin is for libvirt to tell that the agent does not answer.
	freezeMargin = 10 * time.Second
	// thawTimeout is long enough for an agent that is still busy with a freeze.
	thawTimeout = 2 * ours.AgentTimeout
	thawRetry   = 500 * time.Millisecond
)

// freezing is how a freeze went, or may go.
type freezing struct {
	ok      bool
	warning string // why it is not ok
	// refused is the agent's refusal to tell the time, as one does that is frozen.
	refused bool
}

func notFrozen(format string, args ...any) freezing {
	return freezing{warning: fmt.Sprintf("file systems were not frozen: "+format, args...)}
}

// askAgent finds out whether the guest can be frozen: an agent that does not answer now is
// not sent a freeze whose outcome nobody would learn.
func (e *End) askAgent(ctx context.Context, state libvirt.State, mountpoints []string) freezing {
	if !state.GuestRuns() {
		return notFrozen("the domain is %s", state)
	}
	e.boundAgent(ctx, readyTimeout)
	ask, cancel := context.WithTimeout(ctx, agentCallTimeout)
	defer cancel()
	// One that refuses may have been frozen by somebody else: then the freeze is refused
	// too, and thawing is theirs.
	err := e.dom.AgentReady(ask)
	asked := freezing{ok: true, refused: err != nil && refused(err)}
	if err == nil || asked.refused {
		err = e.haveMountpoints(ask, mountpoints)
	}
	if err != nil {
		e.unboundAgent(ctx)
		return notFrozen("%v", err)
	}
	return asked
}

// freeze freezes the guest's file systems, those at the mount points if there are any, if it
// can within a limit, in whole seconds. The agent was asked before. e.frozen says whether
// the guest may be frozen afterwards, whatever the result.
func (e *End) freeze(ctx context.Context, asked freezing, mountpoints []string, limit time.Duration) freezing {
	if err := e.guard.Tell(guard.Message{Event: guard.EventFreezing, Domain: e.dom.UUID}); err != nil {
		return notFrozen("%v", err)
	}
	if err := ours.MarkFrozen(e.opts.Place.RunDir, e.dom.UUID, e.dom.Name); err != nil {
		e.forgetFreeze(ctx)
		return notFrozen("%v", err)
	}
	e.boundAgent(ctx, limit)
	e.frozen, e.frozenSince = true, time.Now()
	call, cancel := context.WithTimeout(ctx, limit+freezeMargin)
	defer cancel()
	err := e.dom.Freeze(call, mountpoints)
	if err == nil {
		return freezing{ok: true}
	}
	if asked.refused && refused(err) {
		// It was frozen before, by somebody else.
		e.forgetFreeze(ctx)
		return notFrozen("is another program holding them frozen? %v", err)
	}
	// Some may be frozen now, or will be when a slow agent gets to it: the thaw that
	// follows sees to it.
	return notFrozen("%v", err)
}

// haveMountpoints fails where the guest has no file system at one of the mount points: the
// agent would leave it out without a word.
func (e *End) haveMountpoints(ctx context.Context, wanted []string) error {
	if len(wanted) == 0 {
		return nil
	}
	there, err := e.dom.Mountpoints(ctx)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		if !slices.Contains(there, w) {
			return fmt.Errorf("the guest has no file system mounted at %s", w)
		}
	}
	return nil
}

// refused says whether the guest agent answered, and with an error. Libvirt before
// 9.1 or so has no code of its own for that.
func refused(err error) bool {
	return errors.Is(err, libvirt.ErrAgentCommand) || errors.Is(err, libvirt.ErrInternal)
}

// forgetFreeze takes back that the guest may be frozen by us. Should that fail, a
// thaw too many is the worst that comes of it.
func (e *End) forgetFreeze(ctx context.Context) {
	e.frozen = false
	e.unboundAgent(ctx)
	err := errors.Join(ours.Unmark(e.opts.Place.RunDir, e.dom.UUID), e.guard.Tell(guard.Message{Event: guard.EventThawed}))
	if err != nil {
		e.log.Warn("cannot take back the freeze", "domain", e.dom.Name, "error", err)
	}
}

// thaw thaws the guest, again and again until it worked or ctx ends.
func (e *End) thaw(ctx context.Context) error {
	for {
		err := ours.Thaw(ctx, e.dom, e.opts.Place.RunDir)
		if err == nil {
			e.frozen, e.frozenFor = false, time.Since(e.frozenSince)
			if err := e.guard.Tell(guard.Message{Event: guard.EventThawed}); err != nil {
				e.log.Warn("the guard is gone", "error", err)
			}
			return nil
		}
		e.log.Warn("cannot thaw the guest yet", "domain", e.dom.Name, "error", err)
		timer := time.NewTimer(thawRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// boundAgent bounds how long libvirt waits for the guest agent. Where that is not
// possible our own bounds remain.
func (e *End) boundAgent(ctx context.Context, bound time.Duration) {
	if err := e.dom.SetAgentTimeout(ctx, bound); err != nil {
		e.log.Info("no bound on the guest agent", "domain", e.dom.Name, "error", err)
	}
}

func (e *End) unboundAgent(ctx context.Context) {
	if err := e.dom.SetAgentTimeout(ctx, 0); err != nil {
		e.log.Info("the bound on the guest agent stays", "domain", e.dom.Name, "error", err)
	}
}
