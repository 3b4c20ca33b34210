package service

import (
	"context"
	"slices"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/internal/runid"
	"vmsync/replicator"
)

// Triggers of runs, as the history has them.
const (
	triggerSchedule = "schedule"
	triggerRetry    = "retry"
	triggerRequest  = "request"
)

// run is a run that is under way.
type run struct {
	record  history.Run
	job     Job
	replica [2]string
	feed    *feed
	cfg     *config.Config // that it began by
	mark    *mark          // what it left for looks; set when it has ended
	cancel  context.CancelCauseFunc
	ctx     context.Context
}

// start begins the runs of a work.
func (s *Service) start(w *work, now time.Time) {
	asked := slices.ContainsFunc(w.machines, func(m *machine) bool { return len(m.wanted) > 0 })
	for i, seat := range s.seats(w) {
		trigger := triggerSchedule
		switch m := w.machines[i]; {
		case asked:
			trigger = triggerRequest
		case m.record.Failures > 0:
			trigger = triggerRetry
		}
		s.startOne(w.machines[i], seat, trigger, now)
	}
}

// startOne begins a run of a machine, which has a seat where it is synced with others.
func (s *Service) startOne(m *machine, seat *replicator.Seat, trigger string, now time.Time) {
	asked, followers := m.takeWanted()
	host := s.sources[m.policy.Source].host
	job := Job{Source: host, Target: s.cfg.Target, Request: requestOf(&m.policy, host, s.cfg.Target, now)}
	wants(&job.Request, &m.policy, asked, pastOf(&m.record, m.last, now).Fresh, now)
	id := runid.New()
	job.Request.Run = id
	job.Request.Hooks = hooksOf(&m.policy, id)
	job.Request.Seat = seat
	log := s.log.With("DOMAIN", m.policy.Domain, "SOURCE", m.policy.Source, "RUN", id)
	if seat != nil {
		log = log.With("SET", seat.SetID())
	}
	r := &run{job: job, cfg: s.cfg, replica: m.replica(), feed: newFeed(log, followers),
		record: history.Run{ID: id, Machine: m.key, Source: m.policy.Source, Domain: m.policy.Domain, Group: seat.SetID(), Trigger: trigger, Began: now,
			Waited: m.waited(now).Seconds(), Outcome: history.Running}}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	log.Info("sync begins", "trigger", trigger)
	if err := s.hist.Begin(r.record); err != nil {
		log.Warn("cannot keep the run in the history", "error", err)
	}
	m.run, m.mark, m.hasten, m.queued = r, nil, false, time.Time{}
	s.tellRun(api.EventRunBegan, r)
	s.running[m.key], s.writing[r.replica] = r, true
	s.tasks.Go(func() {
		r.feed.Emit(event.Run{ID: id, Domain: r.record.Domain, Source: r.record.Source})
		synced, err := s.ends.Sync(r.ctx, job, r.feed)
		seat.Leave() // one that never came there, for its hosts cannot be reached
		r.mark = newMark(job, synced.Mark, time.Now())
		s.calls <- func() { s.ended(r, synced, err) } // the loop goes on as long as there are runs
	})
}

// ended keeps and tells what came of a run.
func (s *Service) ended(r *run, synced replicator.Synced, err error) {
	stopped := r.ctx.Err() != nil
	r.cancel(nil)
	delete(s.running, r.record.Machine)
	delete(s.writing, r.replica)
	r.record.Ended = time.Now()
	r.record = outcome(r.record, synced, err, stopped)
	if err := s.hist.End(r.record); err != nil {
		r.feed.log.Warn("cannot keep the run in the history", "error", err)
	}
	if m := s.machines[r.record.Machine]; m != nil {
		m.run, m.last = nil, &r.record
		if r.cfg == s.cfg { // or the next run is to look what the new one wants
			m.mark = r.mark
		}
		m.record = m.record.After(&r.record)
	}
	s.opts.Ended(&r.record)
	s.tellRun(api.EventRunEnded, r)
	r.tell(synced)
}

// tellRun tells those who listen of a run.
func (s *Service) tellRun(what string, r *run) {
	record := r.record
	s.events.tell(api.Event{Event: what, Source: record.Source, Machine: record.Domain, Run: &record})
}

// tell tells the log and those who follow the run how it ended.
func (r *run) tell(synced replicator.Synced) {
	log, took := r.feed.log, r.record.Duration(r.record.Ended).Round(time.Millisecond)
	problem := r.record.Error
	if problem != nil && (synced.Summary != nil || synced.Skipped != nil) {
		r.feed.Emit(event.Warning{Message: problem.Message, Disk: problem.Disk})
	}
	switch r.record.Outcome {
	case history.Succeeded:
		log.Info("synced", "state", r.record.State, "kind", r.record.Kind, "consistency", r.record.Consistency,
			"changed", r.record.Changed, "sent", r.record.Sent, "frozen", synced.Summary.Frozen.Round(time.Millisecond), "took", took)
		r.feed.close(*synced.Summary)
		return
	case history.Unchanged:
		log.Info("too little changed for a new state", "changed", r.record.Changed, "took", took)
		r.feed.close(*synced.Skipped)
		return
	case history.Aborted:
		log.Warn("given up", "took", took)
	default:
		log.Error("sync failed: "+problem.Message, append(attrs("DISK", problem.Disk, "hint", problem.Hint), "kind", problem.Kind, "took", took)...)
	}
	r.feed.close(event.Error{Run: r.record.ID, Kind: problem.Kind, Message: problem.Message, Domain: r.record.Domain, Disk: problem.Disk, Hint: problem.Hint})
}

// errorEvent is a refusal as the last event of a stream.
func errorEvent(domain string, e *api.Error) event.Error {
	return event.Error{Kind: e.Kind, Message: e.Message, Domain: domain, Hint: e.Hint}
}
