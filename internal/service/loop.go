package service

import (
	"context"
	"fmt"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// longest is how long the loop sleeps at most, for clocks that are set.
const longest = time.Minute

// Run runs the service until ctx ends and its runs have ended, which are given up after
// Options.Grace. Everything that it started has ended when it returns.
func (s *Service) Run(ctx context.Context) error {
	watching, stopWatching := context.WithCancel(context.Background())
	defer func() {
		s.save(time.Now(), true)
		s.events.end()
		stopWatching()
		close(s.over)
		s.tasks.Wait()
		s.shelf.wait()
		s.sayLastWords()
	}()
	s.watching = watching
	if err := s.remember(); err != nil {
		return err
	}
	s.adopt(s.opts.Config)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var alive, giveUp <-chan time.Time
	if s.opts.AliveEvery > 0 {
		tick := time.NewTicker(s.opts.AliveEvery)
		defer tick.Stop()
		alive = tick.C
	}
	stop := ctx.Done()
	for {
		now := time.Now()
		timer.Reset(s.step(now).Sub(now))
		if s.stopping && len(s.running) == 0 {
			return nil
		}
		select {
		case f := <-s.calls:
			f()
		case <-timer.C:
		case <-alive:
			s.opts.Alive()
		case <-stop:
			stop = nil
			s.stop()
			giveUp = time.After(s.opts.Grace)
		case <-giveUp:
			for _, r := range s.running {
				r.cancel(errStopped)
			}
		}
	}
}

// remember takes over what the history knows.
func (s *Service) remember() error {
	all, err := s.hist.Machines()
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	for _, m := range all {
		s.known[m.Key] = true
	}
	return nil
}

// stop begins nothing any more.
func (s *Service) stop() {
	s.stopping = true
	s.events.tell(api.Event{Event: api.EventStopping})
	s.log.Info("ending", "running", len(s.running), "grace", s.opts.Grace)
	for _, m := range s.machines {
		m.refuse(ending())
	}
}

// step judges all machines, begins what is due, and tells when to look again.
func (s *Service) step(now time.Time) (wake time.Time) {
	wake = now.Add(longest)
	heralds := heralds{told: map[string]history.Told{}}
	views := make(map[*machine]*view, len(s.machines))
	for _, m := range s.machines {
		v := m.view(s.cfg, now)
		views[m] = &v
		s.judge(m, &v, now)
		s.listen(&heralds, m, &v, now)
		for _, t := range append(v.turns(), v.due) {
			if t.After(now) && t.Before(wake) {
				wake = t
			}
		}
	}
	s.tellNews(&heralds)
	due := s.lookFirst(s.due(views, now), now)
	s.save(now, false)
	s.queue(due, now)
	jobs := make([]schedule.Job, len(due))
	for i := range due {
		jobs[i] = due[i].job
	}
	for _, i := range schedule.Pick(jobs, s.load(), s.limits()) {
		s.start(&due[i], now)
	}
	s.tell()
	return wake
}

// load is what runs now.
func (s *Service) load() []schedule.Job {
	var jobs []schedule.Job
	for _, r := range s.running {
		jobs = append(jobs, schedule.Job{Key: r.record.Machine, Sources: map[string]int{r.record.Source: 1}, Hosts: []string{r.job.Target.URI}, Members: 1})
	}
	return jobs
}

func (s *Service) limits() schedule.Limits {
	c := s.cfg.Concurrency
	return schedule.Limits{Total: c.Total, PerSource: c.PerSource, PerHost: c.PerTargetHost}
}

// judge tells the log when a machine's replica stands differently than before.
func (s *Service) judge(m *machine, v *view, now time.Time) {
	before := m.health
	m.health = v.health(now, m.began())
	if m.record.Paused != nil {
		m.health = api.Paused
	}
	if m.health == before || v.past.Fresh.IsZero() {
		return
	}
	log := s.log.With("DOMAIN", m.policy.Domain, "SOURCE", m.policy.Source, "age", now.Sub(v.past.Fresh).Round(time.Second), "rpo", v.rule.RPO)
	switch {
	case m.health == schedule.Broken:
		log.Error("the replica is older than promised")
	case m.health == schedule.AtRisk:
		log.Warn("the replica will be older than promised before the next sync has ended, as it looks")
	case m.health == schedule.Healthy && before != "" && before != api.Paused:
		log.Info("the replica is as fresh as promised again")
	default:
		return
	}
	s.events.tell(api.Event{Event: api.EventHealth, Source: m.policy.Source, Machine: m.policy.Domain, Health: m.health, Before: before,
		Age: now.Sub(v.past.Fresh).Seconds(), RPO: v.rule.RPO.Seconds()})
}

// tell tells how things stand, in a line, if that has changed.
func (s *Service) tell() {
	failing, broken, held := 0, 0, 0
	for _, m := range s.machines {
		if m.record.Failures > 0 {
			failing++
		}
		if m.health == schedule.Broken {
			broken++
		}
	}
	for _, src := range s.sources {
		if src.err != nil {
			held++
		}
	}
	line := fmt.Sprintf("%d machines, %d syncing", len(s.machines), len(s.running))
	for _, part := range []struct {
		n    int
		what string
	}{{failing, "failed"}, {broken, "older than promised"}, {held, "sources do not answer"}} {
		if part.n > 0 {
			line += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if s.stopping {
		line = "ending: " + line
	}
	if line != s.told {
		s.told = line
		s.opts.Tell(line)
	}
}

// lastRun is a machine's newest run that has ended.
func (s *Service) lastRun(key string) *history.Run {
	runs, err := s.hist.Runs(s.watching, key, 1)
	if err != nil {
		s.log.Warn("cannot read the history", "machine", key, "error", err)
	}
	if len(runs) == 0 || runs[0].Outcome == history.Running {
		return nil
	}
	return &runs[0]
}
