package service

import (
	"slices"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// aeon stands for a promise that is never broken.
const aeon = 100 * 366 * 24 * time.Hour

// ruleOf is a machine's rule, for a replica that was fresh at a time; the promise of a
// calendar depends on it.
func ruleOf(p *config.Policy, c *config.Config, fresh, now time.Time) schedule.Rule {
	r := schedule.Rule{Every: p.Schedule.Every, Continuous: p.Schedule.RPO > 0, RPO: promise(p, fresh, now),
		Spread: c.Jitter, Retry: schedule.Retry{First: c.Retry.First, Max: c.Retry.Max}}
	if p.Schedule.Cron != nil {
		r.Calendar = p.Schedule.Cron
	}
	return r
}

// promise is how old a replica may get that was fresh at a time, above 0.
func promise(p *config.Policy, fresh, now time.Time) time.Duration {
	if fresh.IsZero() {
		fresh = now
	}
	deadline := p.Deadline(fresh)
	if deadline.IsZero() {
		return aeon
	}
	return max(deadline.Sub(fresh), time.Second)
}

// pastOf is what the schedule is to know of a machine, of which last is the last run. Times
// that are still to come are from a clock that was wrong then: they would put the next run
// off until they come. A look that found nothing changed takes its time as well, if not as
// long as a sync: the history does not count it, but no prediction is to be below it.
func pastOf(m *history.Machine, last *history.Run, now time.Time) schedule.Past {
	seen := func(t time.Time) time.Time {
		if t.After(now) {
			return now
		}
		return t.Local() // calendars go by this host's clock, whatever a file was read as
	}
	took := m.Took
	if last != nil && last.Outcome == history.Unchanged && last.Duration(now) > schedule.Predict(took) {
		took = append(slices.Clone(took), last.Duration(now))
	}
	return schedule.Past{Fresh: seen(m.Fresh), Tried: seen(m.Tried), Failures: m.Failures, Failed: seen(m.Failed), Took: took}
}

// view is how a machine stands at a moment.
type view struct {
	rule schedule.Rule
	past schedule.Past
	due  time.Time // of the next run, which may be long past; the zero time is now
}

func (m *machine) view(c *config.Config, now time.Time) view {
	v := view{past: pastOf(&m.record, m.last, now)}
	v.rule = ruleOf(&m.policy, c, v.past.Fresh, now)
	if !m.hasten {
		v.due = v.rule.Due(m.beat(), &v.past)
	}
	return v
}

// beat is what the machine's share of the jitter comes from, which is the same for all of a
// group.
func (m *machine) beat() string {
	if m.policy.Group != "" {
		return "group " + m.policy.Group
	}
	return m.key
}

// health judges a replica. running is when the run that is under way began.
func (v *view) health(now, running time.Time) schedule.Health {
	return v.rule.Judge(now, &v.past, running, v.due)
}

// turns are the moments at which the health may get worse although nothing happens.
func (v *view) turns() []time.Time {
	if v.past.Fresh.IsZero() {
		return nil
	}
	limit := v.past.Fresh.Add(v.rule.RPO)
	return []time.Time{limit.Add(-schedule.Predict(v.past.Took) + 1), limit.Add(1)}
}
