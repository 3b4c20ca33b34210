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

// ready tells whether a run may begin now, and how urgent it is.
func (s *Service) ready(m *machine, v *view, now time.Time) (schedule.Job, bool) {
	job := schedule.Job{Key: m.key, Source: m.policy.Source, Hosts: []string{s.cfg.Target.URI}, Since: v.due, Members: 1}
	switch {
	case s.stopping, m.run != nil, m.looking, s.writing[m.replica()]:
		return job, false
	case len(m.wanted) > 0:
		job.Slack = -aeon // somebody waits
		return job, true
	case m.record.Paused != nil, s.sources[m.policy.Source].err != nil, v.due.After(now):
		return job, false
	}
	job.Slack = v.rule.Slack(now, &v.past)
	if v.past.Fresh.IsZero() {
		// One that has no replica gets more urgent, too, or the others' age would always win.
		job.Slack -= now.Sub(m.since)
	}
	return job, true
}
