package service

import (
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// machine is one machine that is replicated. It belongs to the loop.
type machine struct {
	key     string // as history.Key makes it
	policy  config.Policy
	record  history.Machine // as the history has it
	last    *history.Run    // that has ended
	run     *run            // that is under way
	wanted  []*request      // runs that were asked for, and have not begun
	mark    *mark           // by which looks go; nil where a run has to
	hasten  bool            // what the next run waits for is over
	looking bool            // the source is being asked whether anything has changed
	health  api.Health      // as it was last told; empty before
	since   time.Time       // from when on it was looked after
	queued  time.Time       // since when a run is due that nothing but its turn keeps waiting; zero if none is
}

// request is a run that somebody asked for.
type request struct {
	ask
	events *stream
}

// ask is what somebody asked for.
type ask = api.SyncRequest

// replica is which replica a machine's runs write: one at a time.
func (m *machine) replica() [2]string { return [2]string{m.policy.Store, m.policy.TargetDomain} }

// began is when the run began that is under way; zero if none is.
func (m *machine) began() time.Time {
	if m.run == nil {
		return time.Time{}
	}
	return m.run.record.Began
}

// waited is how long a run that is due has been waiting for its turn.
func (m *machine) waited(now time.Time) time.Duration {
	if m.queued.IsZero() {
		return 0
	}
	return max(now.Sub(m.queued), 0)
}

// takeWanted takes those requests off the list that the same run can answer: the first,
// and those that ask for the same.
func (m *machine) takeWanted() (asked *ask, events []*stream) {
	var rest []*request
	for _, r := range m.wanted {
		if asked == nil {
			asked = &r.ask
		}
		if r.ask == *asked {
			events = append(events, r.events)
			continue
		}
		rest = append(rest, r)
	}
	m.wanted = rest
	return asked, events
}

// refuse ends all requests with an error.
func (m *machine) refuse(e *api.Error) {
	for _, r := range m.wanted {
		r.events.Emit(errorEvent(m.policy.Domain, e))
		r.events.end()
	}
	m.wanted = nil
}

// work is what is synced as one: a machine, or several of a group.
type work struct {
	job      schedule.Job
	machines []*machine
	group    string // empty for one by itself
}

// due is all work that may begin now.
func (s *Service) due(views map[*machine]*view, now time.Time) (all []work) {
	groups := map[string][]*machine{}
	for m, v := range views {
		switch {
		case m.policy.Group != "":
			groups[m.policy.Group] = append(groups[m.policy.Group], m)
		case s.free(m) && (len(m.wanted) > 0 || s.able(m) && !v.due.After(now)):
			all = append(all, s.work("", []*machine{m}, views, now))
		}
	}
	for name, members := range groups {
		all = append(all, s.groupDue(name, members, views, now)...)
	}
	return all
}

// queue notes since when machines wait for their turn: those of due work do.
func (s *Service) queue(due []work, now time.Time) {
	waits := map[*machine]bool{}
	for _, w := range due {
		for _, m := range w.machines {
			waits[m] = true
		}
	}
	for _, m := range s.machines {
		switch {
		case !waits[m]:
			m.queued = time.Time{}
		case m.queued.IsZero():
			m.queued = now
		}
	}
}

// free tells whether nothing is under way that a run of the machine would have to wait for.
func (s *Service) free(m *machine) bool {
	return !s.stopping && m.run == nil && !m.looking && !s.writing[m.replica()]
}

// able tells whether the machine may be synced and its source answers.
func (s *Service) able(m *machine) bool {
	return m.record.Paused == nil && s.sources[m.policy.Source].err == nil
}

// work makes one of machines, as urgent as the most urgent of them.
func (s *Service) work(group string, machines []*machine, views map[*machine]*view, now time.Time) work {
	w := work{machines: machines, group: group, job: schedule.Job{Key: machines[0].key, Sources: map[string]int{},
		Hosts: []string{s.cfg.Target.URI}, Slack: aeon, Since: now, Members: len(machines)}}
	for _, m := range machines {
		v := views[m]
		w.job.Sources[m.policy.Source]++
		w.job.Slack = min(w.job.Slack, m.slack(v, now))
		if v.due.Before(w.job.Since) {
			w.job.Since = v.due
		}
	}
	return w
}

// slack is how long the machine's next run can wait.
func (m *machine) slack(v *view, now time.Time) time.Duration {
	switch {
	case len(m.wanted) > 0:
		return -aeon // somebody waits
	case v.past.Fresh.IsZero():
		// One that has no replica gets more urgent, too, or the others' age would always win.
		return v.rule.Slack(now, &v.past) - now.Sub(m.since)
	}
	return v.rule.Slack(now, &v.past)
}
