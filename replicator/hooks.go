package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vmsync/internal/event"
)

// lastHooks is how long hooks may still run, all together, once a run was given up: what
// hooks before them have begun is to be undone, and nobody is to wait for ever.
const lastHooks = 30 * time.Second

// errNoTime is why hooks of a run that was given up do not run, or are ended.
var errNoTime = errors.New("the run was given up, and its hooks have used up their time")

// maxHookLines bounds what is passed on of a hook's output. Agents have their own bounds.
const maxHookLines = 2000

// bracketed takes the checkpoint between the hooks that come before and after it. The latter
// run whatever came of the former, or of the checkpoint.
func (r *run) bracketed(ctx context.Context, take func() error) error {
	r.reached = true
	err := r.hooksBefore(ctx)
	r.hookFailed = err != nil
	if err == nil {
		err = take()
	}
	if err != nil && (r.hookFailed || !r.beginsAgain(err)) {
		r.req.Seat.Leave() // before hooks take their time: the others may be frozen
	}
	about := r.about(ctx, HookAfterCheckpoint, err)
	if err == nil {
		about.Outcome, about.Consistency = HookSucceeded, string(r.begun.Consistency)
	}
	after := r.hooksAfter(r.late, r.req.Hooks.AfterCheckpoint, about)
	r.hookFailed = r.hookFailed || after != nil
	return both(err, after)
}

// beginsAgain tells whether the run goes on after an error of the checkpoint's.
func (r *run) beginsAgain(err error) bool {
	return errors.Is(err, errAgain) || KindOf(err) == KindCheckpointInconsistent && r.plan.Parent != ""
}

// both is what came of a run and of the hooks after it.
func both(err, after error) error {
	if after == nil {
		return err
	}
	return errors.Join(err, after)
}

// end runs the hooks that come last, where those that come before could have run.
func (r *run) end(ctx context.Context, err error) error {
	if !r.reached || len(r.req.Hooks.After) == 0 {
		return err
	}
	about := r.about(ctx, HookAfter, err)
	if r.sum != nil {
		about.Outcome, about.State, about.Consistency = HookSucceeded, r.sum.State, r.sum.Consistency
	}
	return both(err, Phase(r.out, event.PhaseAfter, func() error { return r.hooksAfter(r.late, r.req.Hooks.After, about) }))
}

// about is what hooks of a stage are told.
func (r *run) about(ctx context.Context, stage HookStage, err error) HookAbout {
	h := &r.req.Hooks
	a := HookAbout{Stage: stage, Domain: r.source.Name, TargetDomain: r.req.TargetDomain, Source: h.Source, Store: r.req.Store, Run: h.Run,
		Checkpoint: r.plan.Checkpoint}
	if err == nil {
		return a
	}
	e := AsError(err)
	a.Outcome, a.ErrorKind, a.Error = HookFailed, e.Kind, e.Text()
	if ctx.Err() != nil {
		a.Outcome, a.ErrorKind = HookAborted, KindCanceled
	}
	return a
}

// hooksBefore runs the hooks that come before the checkpoint, up to one that has the run fail.
func (r *run) hooksBefore(ctx context.Context) error {
	about := r.about(ctx, HookBefore, nil)
	for _, h := range r.req.Hooks.Before {
		err := r.hook(ctx, h, about)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && h.Abort:
			return err
		case err != nil:
			r.warnOfHook(err)
		}
	}
	return nil
}

// hooksAfter runs all of some hooks. It returns the error of the first that has the run fail.
func (r *run) hooksAfter(ctx context.Context, hooks []Hook, about HookAbout) (first error) {
	for _, h := range hooks {
		err := r.hook(ctx, h, about)
		switch {
		case err == nil:
		case h.Abort && first == nil:
			first = err
		default:
			r.warnOfHook(err)
		}
	}
	return first
}

func (r *run) warnOfHook(err error) {
	e := AsError(err)
	r.out.Emit(event.Warning{Message: e.Text() + "; " + e.Advice()})
}

// hook has an end run a hook, and tells of it.
func (r *run) hook(ctx context.Context, h Hook, about HookAbout) error {
	req := HookRequest{On: h.On, Command: h.Command, Timeout: h.Timeout, About: about}
	if ctx.Err() != nil {
		return HookError(&req, "", context.Cause(ctx))
	}
	on := r.src.Hook
	if h.On == HookOnTarget {
		on = r.dst.Hook
	}
	r.out.Emit(event.Notice{Message: req.Name() + " begins"})
	start, lines := time.Now(), 0
	err := on(ctx, req, func(line string) {
		if lines++; lines <= maxHookLines {
			r.out.Emit(event.Notice{Message: req.Name() + ": " + line})
		}
	})
	switch {
	case err == nil:
		r.out.Emit(event.Notice{Message: fmt.Sprintf("%s has ended well after %v", req.Name(), time.Since(start).Round(time.Millisecond))})
	case ctx.Err() != nil:
		return HookError(&req, "", context.Cause(ctx))
	}
	return err
}

// hookPatience is how long the hooks around a checkpoint may take at most, each with some
// time for it to be ended. The data plane waits for the stream to begin meanwhile.
func (r *run) hookPatience() (sum time.Duration) {
	for _, h := range slices.Concat(r.req.Hooks.Before, r.req.Hooks.AfterCheckpoint) {
		sum += h.Timeout + time.Minute
	}
	return sum
}

// outlasting is a context that ends some time after another has.
func outlasting(ctx context.Context, by time.Duration, cause error) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(cause)
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel(nil) }
}
