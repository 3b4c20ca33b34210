package service

import (
	"context"
	"errors"

	"vmsync/internal/history"
	"vmsync/replicator"
)

// errStopped is why runs are given up when the service ends.
var errStopped = errors.New("the service ends")

// outcome completes a run that has ended with what came of it; stopped says that it was
// told to end. A state that is stored is a success, whatever happened afterwards.
func outcome(r history.Run, synced replicator.Synced, err error, stopped bool) history.Run {
	switch {
	case synced.Summary != nil:
		s := synced.Summary
		r.Outcome, r.State, r.Kind, r.Consistency, r.Transport = history.Succeeded, s.State, s.Kind, s.Consistency, s.Transport
		r.Changed, r.Zero, r.Sent = s.ChangedBytes, s.ZeroBytes, s.Traffic.Bytes
		r.Frozen, r.Transfer = s.Frozen.Seconds(), s.Transfer.Seconds()
	case synced.Skipped != nil:
		r.Outcome, r.Changed = history.Unchanged, synced.Skipped.ChangedBytes
	case stopped:
		r.Outcome = history.Aborted
	default:
		r.Outcome = history.Failed
	}
	r.Error = reason(err)
	return r
}

// reason is an error as the history keeps it.
func reason(err error) *history.RunError {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled) && replicator.KindOf(err) == replicator.KindOther:
		return &history.RunError{Kind: replicator.KindCanceled, Message: "given up, for the service ends; what was begun is undone"}
	}
	e := replicator.AsError(err)
	return &history.RunError{Kind: e.Kind, Disk: e.Disk, Message: e.Text(), Hint: e.Advice()}
}

// wrong is why a machine's last run was no good; nil if it was.
func wrong(m *history.Machine, last *history.Run) *history.RunError {
	switch {
	case m.Failures == 0 || last == nil:
		return nil
	case last.Outcome == history.Killed:
		return &history.RunError{Message: "the service died during the run", Hint: "it is tried again, and the next run cleans up; see: journalctl -u vmsync"}
	}
	return last.Error
}

// elsewhere tells whether an error of a run may be cured by its source coming back.
func elsewhere(e *history.RunError) bool {
	if e == nil {
		return false
	}
	switch e.Kind {
	case replicator.KindUnreachable, replicator.KindAgentLost, replicator.KindPeer:
		return true
	}
	return false
}

// off tells whether an error of a run may be cured by its domain being started.
func off(e *history.RunError) bool {
	return e != nil && (e.Kind == replicator.KindDomainOff || e.Kind == replicator.KindDomainStopped)
}
