package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/history"
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

// newID makes a run's id: 12 hex digits.
func newID() string {
	var b [6]byte
	rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// start begins a run of a machine.
func (s *Service) start(m *machine, now time.Time) {
	asked, followers := m.takeWanted()
	trigger := triggerSchedule
	switch {
	case asked != nil:
		trigger = triggerRequest
	case m.record.Failures > 0:
		trigger = triggerRetry
	}
	host := s.sources[m.policy.Source].host
	job := Job{Source: host, Target: s.cfg.Target, Request: requestOf(&m.policy, host, s.cfg.Target, now)}
	wants(&job.Request, &m.policy, asked, pastOf(&m.record, m.last, now).Fresh, now)
	id := newID()
	log := s.log.With("DOMAIN", m.policy.Domain, "SOURCE", m.policy.Source, "RUN", id)
	r := &run{job: job, cfg: s.cfg, replica: m.replica(), feed: newFeed(log, followers),
		record: history.Run{ID: id, Machine: m.key, Source: m.policy.Source, Domain: m.policy.Domain, Trigger: trigger, Began: now, Outcome: history.Running}}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	log.Info("sync begins", "trigger", trigger)
	if err := s.hist.Begin(r.record); err != nil {
		log.Warn("cannot keep the run in the history", "error", err)
	}
	m.run, m.mark, m.hasten = r, nil, false
	s.running[m.key], s.writing[r.replica] = r, true
	s.tasks.Go(func() {
		r.feed.Emit(event.Run{ID: id, Domain: r.record.Domain, Source: r.record.Source})
		synced, err := s.ends.Sync(r.ctx, job, r.feed)
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
	r.tell(synced)
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
	r.feed.close(event.Error{Kind: problem.Kind, Message: problem.Message, Domain: r.record.Domain, Disk: problem.Disk, Hint: problem.Hint})
}

// errorEvent is a refusal as the last event of a stream.
func errorEvent(domain string, e *api.Error) event.Error {
	return event.Error{Kind: e.Kind, Message: e.Message, Domain: domain, Hint: e.Hint}
}
