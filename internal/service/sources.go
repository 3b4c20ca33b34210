package service

import (
	"context"
	"maps"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/replicator"
)

// How often the domains of a source are listed, and how soon a source that does not answer
// is tried again.
const (
	listEvery  = time.Minute
	tryEvery   = 5 * time.Second
	tryAtMost  = time.Minute
	tryPatient = 10 * time.Minute // not answering for so long, a source is tried less often
)

// source is a host that machines come from. It belongs to the loop.
type source struct {
	host   config.Host
	ctx    context.Context    // of its watch
	stop   context.CancelFunc // ends it
	asks   chan Ask           // to its watch
	listed listing            // nil while unknown
	at     time.Time          // when
	err    error              // why it does not answer now
	lost   time.Time          // since when, if it does not
}

// follow begins to watch a source.
func (s *Service) follow(h config.Host) *source {
	ctx, stop := context.WithCancel(s.watching)
	src := &source{host: h, ctx: ctx, stop: stop, asks: make(chan Ask)}
	s.tasks.Go(func() { s.watch(ctx, src) })
	return src
}

// watch watches a source until ctx ends.
func (s *Service) watch(ctx context.Context, src *source) {
	tell := func(f func()) {
		select {
		case s.calls <- f:
		case <-ctx.Done():
		}
	}
	heard := time.Now()
	for {
		err := s.ends.Watch(ctx, src.host, listEvery, src.asks, func(all []replicator.SourceDomain) {
			heard = time.Now()
			tell(func() { s.listed(src, newListing(all)) })
		})
		if ctx.Err() != nil {
			return
		}
		tell(func() { s.lost(src, err) })
		pause := tryEvery
		if time.Since(heard) > tryPatient {
			pause = tryAtMost
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// listed takes over which domains a source has. What failed because it did not answer, or
// because a domain did not run that runs now, is tried again at once.
func (s *Service) listed(src *source, now listing) {
	if s.sources[src.host.Name] != src {
		return // its configuration has changed meanwhile
	}
	before, back := src.listed, src.err != nil
	if back {
		s.log.Info("the source answers again", "SOURCE", src.host.Name)
		s.events.tell(api.Event{Event: api.EventSourceBack, Source: src.host.Name})
	}
	src.listed, src.at, src.err = now, time.Now(), nil
	if before == nil || !maps.Equal(before, now) {
		s.muster()
	}
	for _, m := range s.machines {
		if m.policy.Source != src.host.Name || m.record.Failures == 0 || m.last == nil {
			continue
		}
		name := m.policy.Domain
		if (back && elsewhere(m.last.Error)) || (off(m.last.Error) && now[name].Running && !before[name].Running) {
			m.hasten = true
		}
	}
}

// lost notes that a source does not answer.
func (s *Service) lost(src *source, err error) {
	if s.sources[src.host.Name] != src {
		return
	}
	if src.err == nil {
		src.lost = time.Now()
		e := replicator.AsError(err)
		s.events.tell(api.Event{Event: api.EventSourceLost, Source: src.host.Name, Error: reason(err)})
		s.log.Error("the source does not answer: "+e.Text(), append(attrs("hint", e.Advice()), "SOURCE", src.host.Name)...)
	}
	src.err = err
}

// muster finds out which machines there are now.
func (s *Service) muster() {
	listed, current := map[string]listing{}, map[string]bool{}
	for name, src := range s.sources {
		listed[name] = src.listed
	}
	for key := range s.machines {
		current[key] = true
	}
	wanted := fleet(s.cfg, listed, s.known, current)
	for key, m := range s.machines {
		if _, stays := wanted[key]; !stays {
			s.dismiss(m)
		}
	}
	var added []*machine
	for key, policy := range wanted {
		if m := s.machines[key]; m != nil {
			m.policy = policy
			continue
		}
		added = append(added, s.enlist(key, policy))
	}
	s.readHeads(added)
}

// enlist begins to look after a machine.
func (s *Service) enlist(key string, policy config.Policy) *machine {
	record, err := s.hist.Machine(key)
	if err != nil {
		s.log.Warn("cannot read the history: the machine's past is unknown", "DOMAIN", policy.Domain, "SOURCE", policy.Source, "error", err)
		record = history.Machine{Key: key}
	}
	// One that was dismissed during its run goes on with that.
	m := &machine{key: key, policy: policy, record: record, last: s.lastRun(key), run: s.running[key], since: time.Now()}
	s.machines[key], s.known[key] = m, true
	s.events.tell(api.Event{Event: api.EventMachineAdded, Source: policy.Source, Machine: policy.Domain})
	s.log.Info("machine is replicated from now on", "DOMAIN", policy.Domain, "SOURCE", policy.Source, "schedule", scheduleText(&policy))
	return m
}

// dismiss stops looking after a machine. A run that is under way goes on.
func (s *Service) dismiss(m *machine) {
	m.refuse(unknownMachine(m.policy.Domain))
	delete(s.machines, m.key)
	s.events.tell(api.Event{Event: api.EventMachineGone, Source: m.policy.Source, Machine: m.policy.Domain})
	s.log.Warn("machine is no longer replicated: its source or the configuration has it no more", "DOMAIN", m.policy.Domain, "SOURCE", m.policy.Source)
}
