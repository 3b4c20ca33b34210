package service

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/event"
	"vmsync/internal/history"
)

// mostLastRuns bounds an answer with the last runs of all machines.
const mostLastRuns = 20_000

// Following is a run that was asked for, as it goes.
type Following struct {
	s      *Service
	key    string
	events *stream
}

// Next waits for the run's next event; false after the last, which is a Summary, a Skipped
// or an Error, or when ctx ends.
func (f *Following) Next(ctx context.Context) (event.Event, bool) { return f.events.next(ctx) }

// Close takes the request back if the run has not begun. It must be called.
func (f *Following) Close() {
	_ = f.s.do(context.Background(), func() {
		if m := f.s.machines[f.key]; m != nil {
			m.wanted = slices.DeleteFunc(m.wanted, func(r *request) bool { return r.events == f.events })
		}
	}) // a service that has ended has nothing to take back
}

// Sync asks for a run that begins from now on. Source may be empty where only one has
// such a domain. The error is an [*api.Error].
func (s *Service) Sync(ctx context.Context, source, domain string, what api.SyncRequest) (*Following, error) {
	f := &Following{s: s, events: newStream()}
	err := s.change(ctx, source, domain, func(m *machine) error {
		switch {
		case s.stopping:
			return ending()
		case m.record.Paused != nil:
			return paused(m)
		}
		f.key = m.key
		if m.run != nil {
			f.events.Emit(event.Notice{Message: "waiting for run " + m.run.record.ID + " to end, which is under way"})
		}
		s.tellGroup(m, f.events)
		m.wanted = append(m.wanted, &request{what, f.events})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func paused(m *machine) *api.Error {
	message := "it is paused since " + m.record.Paused.Since.Format(time.RFC3339)
	if m.record.Paused.Reason != "" {
		message += " (" + m.record.Paused.Reason + ")"
	}
	return &api.Error{Kind: api.KindPaused, Machine: m.policy.Domain, Message: message, Hint: "first: vmsync resume " + m.policy.Domain}
}

// Pause keeps a machine from being synced until it is resumed, also over restarts. A run
// that is under way goes on. It says whether that is new.
func (s *Service) Pause(ctx context.Context, source, domain, reason string) (changed bool, err error) {
	err = s.change(ctx, source, domain, func(m *machine) error {
		if m.record.Paused != nil {
			return nil
		}
		changed = true
		m.refuse(&api.Error{Kind: api.KindPaused, Message: "it was paused"})
		return s.setPaused(m, &history.Pause{Since: time.Now().Round(0), Reason: reason})
	})
	return changed, err
}

// Resume takes a pause back. It says whether there was one.
func (s *Service) Resume(ctx context.Context, source, domain string) (changed bool, err error) {
	err = s.change(ctx, source, domain, func(m *machine) error {
		if m.record.Paused == nil {
			return nil
		}
		changed = true
		return s.setPaused(m, nil)
	})
	return changed, err
}

func (s *Service) setPaused(m *machine, p *history.Pause) error {
	if err := s.hist.Pause(m.key, p); err != nil {
		return fmt.Errorf("keep in the history that %s is paused or not: %w", m.policy.Domain, err)
	}
	m.record.Paused = p
	news := api.Event{Event: api.EventResumed, Source: m.policy.Source, Machine: m.policy.Domain}
	if p != nil {
		news.Event, news.Reason = api.EventPaused, p.Reason
	}
	s.events.tell(news)
	s.log.Info(map[bool]string{true: "paused", false: "resumed"}[p != nil], "DOMAIN", m.policy.Domain, "SOURCE", m.policy.Source)
	return nil
}

// Runs lists a machine's last runs, the newest first.
func (s *Service) Runs(ctx context.Context, source, domain string, limit int) ([]history.Run, error) {
	var key string
	if err := s.change(ctx, source, domain, func(m *machine) error { key = m.key; return nil }); err != nil {
		return nil, err
	}
	return s.hist.Runs(ctx, key, limit)
}

// LastRuns lists the last runs of every machine, at most limit of each, those of a machine
// together and the newest first. Of very many machines there are fewer of each.
func (s *Service) LastRuns(ctx context.Context, limit int) ([]history.Run, error) {
	var keys []string
	if err := s.do(ctx, func() { keys = slices.Sorted(maps.Keys(s.machines)) }); err != nil {
		return nil, err
	}
	limit = min(limit, max(1, mostLastRuns/max(1, len(keys))))
	all := []history.Run{}
	for _, key := range keys {
		runs, err := s.hist.Runs(ctx, key, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	return all, nil
}

// change has the loop do something with one machine.
func (s *Service) change(ctx context.Context, source, domain string, f func(*machine) error) error {
	var err error
	if doErr := s.do(ctx, func() {
		var m *machine
		if m, err = s.find(source, domain); err == nil {
			err = f(m)
		}
	}); doErr != nil {
		return doErr
	}
	return err
}

// find finds a machine by its name; source may be empty.
func (s *Service) find(source, domain string) (*machine, error) {
	var found []*machine
	var on []string
	for _, m := range s.machines {
		if m.policy.Domain == domain && (source == "" || m.policy.Source == source) {
			found, on = append(found, m), append(on, m.policy.Source+"/"+domain)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, unknownMachine(domain)
	}
	slices.Sort(on)
	return nil, &api.Error{Kind: api.KindAmbiguous, Machine: domain, Message: "several sources have one", Hint: "say which: " + strings.Join(on, " or ")}
}

func unknownMachine(domain string) *api.Error {
	return &api.Error{Kind: api.KindUnknownMachine, Machine: domain, Message: "the service replicates no machine of this name",
		Hint: "vmsync status lists those that it does, vmsync config show --machine says what the configuration makes of one"}
}
