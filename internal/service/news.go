package service

import (
	"cmp"
	"slices"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/internal/notify"
	"vmsync/replicator"
)

// firstSync is how long a machine may be without a replica at least before that is told.
const firstSync = time.Hour

// condition is what decides whether somebody is told of a machine.
type condition struct {
	paused  bool
	replica bool      // there is one
	broken  time.Time // since when it is older than promised, or missing; zero: it is not

	failing bool              // no run was good since the last that failed
	failed  time.Time         // since when; zero: it is nothing to be told of
	err     *history.RunError // why, where it is known
	tried   time.Time         // as the history has it
	away    *history.RunError // why the source does not answer; nil: it does
}

// conditionOf is how a machine stands at a moment. lost and lostErr are since when and why
// its source does not answer, if it does not; patience is how long that may last when a run
// is due.
func conditionOf(m *machine, v *view, lost time.Time, lostErr error, patience time.Duration, now time.Time) condition {
	st := condition{paused: m.record.Paused != nil, replica: !v.past.Fresh.IsZero(), failing: m.record.Failures > 0,
		err: wrong(&m.record, m.last), tried: m.record.Tried, away: reason(lostErr)}
	limit := v.past.Fresh.Add(v.rule.RPO)
	if !st.replica {
		limit = m.since.Add(max(v.rule.RPO, firstSync))
	}
	if now.After(limit) && (st.replica || m.run == nil) {
		st.broken = limit
	}
	switch {
	case st.away != nil && m.run == nil && now.Sub(lost) >= patience && now.Sub(v.due) >= patience:
		// A run that cannot begin is one that fails.
		st.failing, st.failed, st.err = true, lost, st.away
	case st.failing && toldOf(m.last):
		st.failed = m.last.Began
	}
	return st
}

// toldOf tells whether a run's failure is one to tell of: not that somebody else syncs the
// machine, nor that the service died, after which it is tried again at once.
func toldOf(r *history.Run) bool {
	if r == nil || r.Outcome != history.Failed || r.Error == nil {
		return false
	}
	return r.Error.Kind != replicator.KindBusy && r.Error.Kind != replicator.KindCanceled
}

// maxKinds bounds for how many reasons one series of failures is told.
const maxKinds = 5

// changes says what somebody is to be told of a machine, who was told something before; and
// what will have been told then. A breach and a failure are told once until the machine
// has recovered; a failure again when it fails for another reason, but not for one that was
// told.
func changes(told history.Told, now condition) (events []config.Event, _ history.Told) {
	if now.paused {
		return nil, told
	}
	if !now.broken.IsZero() && told.Broken.IsZero() {
		told.Broken = now.broken
		events = append(events, config.RPOBroken)
	}
	if kind := family(now.err); !now.failed.IsZero() && !slices.Contains(told.Kinds, kind) && len(told.Kinds) < maxKinds {
		if told.Failed.IsZero() {
			told.Failed = now.failed
		}
		told.Tried, told.Kinds = now.tried, append(slices.Clone(told.Kinds), kind)
		events = append(events, config.Failed)
	}
	switch {
	case told.IsZero(), now.failing, !now.replica, !now.broken.IsZero():
	case told.Failed.IsZero() || !now.tried.Equal(told.Tried):
		return []config.Event{config.Recovered}, history.Told{}
	}
	return events, told
}

// family puts errors together that have one cause: which of them a run ends with when a
// link is cut is chance.
func family(e *history.RunError) string {
	switch {
	case elsewhere(e):
		return replicator.KindUnreachable
	case e == nil:
		return replicator.KindOther
	}
	return cmp.Or(e.Kind, replicator.KindOther)
}

// newsOf puts an event into words.
func newsOf(e config.Event, m *machine, v *view, st *condition, before *history.Told, now time.Time) notify.News {
	n := notify.News{ID: notify.NewID(), Event: e, Time: now, Domain: m.policy.Domain, Source: m.policy.Source, TargetDomain: m.policy.TargetDomain,
		Fresh: v.past.Fresh, Failures: m.record.Failures}
	if st.replica {
		n.Age = now.Sub(v.past.Fresh).Seconds()
	}
	if v.rule.RPO < aeon {
		n.RPO = v.rule.RPO.Seconds()
	}
	if m.last != nil {
		n.Run = m.last.ID
	}
	if e != config.Recovered {
		n.Error = st.err
		if e == config.RPOBroken {
			n.Error = cmp.Or(st.away, st.err)
		}
		n.Hint = "see: vmsync status " + n.Domain + ", and: journalctl -u vmsync DOMAIN=" + n.Domain
		if n.Error != nil && n.Error.Hint != "" {
			n.Hint = n.Error.Hint
		}
	}
	switch e {
	case config.RPOBroken:
		n.Message, n.Since = "the replica is older than promised", st.broken
		if !st.replica {
			n.Message = "there is no replica yet"
		}
	case config.Failed:
		n.Message, n.Since = "the machine cannot be synced", st.failed
	case config.Recovered:
		n.Message = "the replica is as fresh as promised, and syncs succeed"
		for _, was := range []struct {
			event config.Event
			since time.Time
		}{{config.RPOBroken, before.Broken}, {config.Failed, before.Failed}} {
			if was.since.IsZero() {
				continue
			}
			n.After = append(n.After, was.event)
			if n.Since.IsZero() || was.since.Before(n.Since) {
				n.Since = was.since
			}
		}
	}
	return n
}
