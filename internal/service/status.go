package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/schedule"
	"vmsync/internal/units"
	"vmsync/replicator"
)

// Status tells how everything stands, and what stores say of it that are on this host.
func (s *Service) Status(ctx context.Context) (*api.Status, error) {
	st := &api.Status{Version: s.opts.Version, Since: s.since, Config: s.opts.Path, Sources: []api.Source{}, Machines: []api.Machine{}}
	local := false
	if err := s.do(ctx, func() {
		now := time.Now()
		st.Stopping, local = s.stopping, s.cfg.Target.At.Local
		for _, h := range s.cfg.Sources {
			st.Sources = append(st.Sources, s.sources[h.Name].status())
		}
		for _, m := range s.machines {
			st.Machines = append(st.Machines, s.machineStatus(m, now))
		}
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(st.Machines, func(a, b api.Machine) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source))
	})
	if local {
		st.Stores = s.shelf.fill(ctx, st.Machines, time.Now())
		s.shelf.keep(st.Machines)
	}
	return st, nil
}

// Machine tells how one machine stands.
func (s *Service) Machine(ctx context.Context, source, domain string) (*api.Machine, error) {
	one := make([]api.Machine, 1)
	local := false
	if err := s.change(ctx, source, domain, func(m *machine) error {
		one[0], local = s.machineStatus(m, time.Now()), s.cfg.Target.At.Local
		return nil
	}); err != nil {
		return nil, err
	}
	if local {
		s.shelf.fill(ctx, one, time.Now())
	}
	return &one[0], nil
}

func (src *source) status() api.Source {
	st := api.Source{Name: src.host.Name, URI: src.host.URI, Listed: src.at}
	if src.err != nil {
		st.Error = replicator.AsError(src.err).Text()
	}
	return st
}

func (s *Service) machineStatus(m *machine, now time.Time) api.Machine {
	v := m.view(s.cfg, now)
	st := api.Machine{Name: m.policy.Domain, Source: m.policy.Source, TargetDomain: m.policy.TargetDomain, Store: m.policy.Store,
		Schedule: scheduleText(&m.policy), Group: m.policy.Group, Health: v.health(now, m.began()), Doing: s.doing(m, &v, now),
		Fresh: v.past.Fresh, Tried: v.past.Tried, Waiting: m.waited(now).Seconds(), RPO: v.rule.RPO.Seconds(), Paused: m.record.Paused, Failures: m.record.Failures, Last: m.last}
	if m.record.Paused != nil {
		st.Health = api.Paused
	}
	if !v.past.Fresh.IsZero() {
		age := now.Sub(v.past.Fresh).Seconds()
		st.Age = &age
	}
	if m.run == nil && m.record.Paused == nil && !schedule.Never(v.due) {
		if st.Next = v.due; st.Next.Before(now) {
			st.Next = now
		}
	}
	st.Error = wrong(&m.record, m.last)
	if src := s.sources[m.policy.Source]; src.err != nil {
		st.Error = reason(src.err)
	}
	if r := m.run; r != nil {
		phase, done, total := r.feed.far()
		st.Running = &api.Running{ID: r.record.ID, Trigger: r.record.Trigger, Began: r.record.Began, Phase: string(phase), Done: done, Total: total}
		st.Running.PerSecond, st.Running.Sent = r.feed.fast(now)
	}
	return st
}

// doing says what the service does with a machine.
func (s *Service) doing(m *machine, v *view, now time.Time) api.Doing {
	switch {
	case m.run != nil:
		return api.Syncing
	case len(m.wanted) > 0:
		return api.Waiting
	case m.record.Paused != nil:
		return api.Resting
	case s.sources[m.policy.Source].err != nil:
		return api.Held
	case !v.due.After(now) && !m.looking:
		return api.Waiting
	case m.record.Failures > 0:
		return api.Retrying
	}
	return api.Idle
}

// scheduleText is a machine's schedule for people.
func scheduleText(p *config.Policy) string {
	switch {
	case p.Schedule.RPO > 0:
		return "rpo " + units.FormatDuration(p.Schedule.RPO)
	case p.Schedule.Cron != nil:
		return "cron " + p.Schedule.Cron.String()
	}
	return "every " + units.FormatDuration(p.Schedule.Every)
}
