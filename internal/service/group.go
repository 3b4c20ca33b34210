package service

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/runid"
	"vmsync/replicator"
)

// The machines of a consistency group are synced together: each has a run of its own, and
// the runs meet to take the checkpoints ([replicator.Seat]).

// turn is how a member of a group stands as far as the group's next sync goes.
type turn struct {
	running bool // a run of it is under way, or of another machine that would be the same replica
	able    bool // it is not paused and its source answers, or somebody waits for it
	wanted  bool // somebody waits for it
	failed  bool // its last run failed
	due     bool
	slack   time.Duration
}

// turns says which members of a group are synced now: together, or each by itself.
//
// The group is due when a member is whose last run was good, or when somebody asks; then
// all take part that can. A member whose last run failed is tried again by itself, as long
// as the others are well: their states need not be made again for it. A member whose run is
// still under way is waited for, but only as long as no promise to another is broken by
// that. It is a pure function.
func turns(members []turn) (together, alone []int) {
	var free, sound []int
	running, asked, due := false, false, false
	slack := aeon
	for i, m := range members {
		switch {
		case m.running:
			running = true
			continue
		case !m.able:
			continue
		}
		free = append(free, i)
		slack, asked = min(slack, m.slack), asked || m.wanted
		if !m.failed {
			sound = append(sound, i)
		}
	}
	if len(sound) == 0 && !running {
		sound = free // all have failed: as one they are tried again
	}
	for _, i := range sound {
		due = due || members[i].due
	}
	switch {
	case (asked || due) && running && slack >= 0:
		return nil, nil
	case asked || due:
		return free, nil
	}
	for _, i := range free {
		if members[i].due {
			alone = append(alone, i)
		}
	}
	return nil, alone
}

// groupDue is what work of a group may begin now: none before it is known who its members
// are.
func (s *Service) groupDue(name string, members []*machine, views map[*machine]*view, now time.Time) (all []work) {
	for _, src := range s.sources {
		if src.listed == nil && src.err == nil {
			return nil
		}
	}
	slices.SortFunc(members, func(a, b *machine) int { return cmp.Compare(a.key, b.key) })
	standings := make([]turn, len(members))
	for i, m := range members {
		v := views[m]
		wanted := len(m.wanted) > 0
		standings[i] = turn{running: !s.free(m), able: wanted || s.able(m), wanted: wanted, failed: m.record.Failures > 0, due: !v.due.After(now),
			slack: v.rule.Slack(now, &v.past)}
	}
	together, alone := turns(standings)
	if len(together) > 0 {
		var some []*machine
		for _, i := range together {
			some = append(some, members[i])
		}
		all = append(all, s.work(name, some, views, now))
	}
	for _, i := range alone {
		all = append(all, s.work("", []*machine{members[i]}, views, now))
	}
	return all
}

// seats are the places of machines at the meeting of their group; of one by itself it is
// a nil one.
func (s *Service) seats(w *work) []*replicator.Seat {
	if w.group == "" {
		return []*replicator.Seat{nil}
	}
	var all, present []string
	for _, m := range s.group(w.group) {
		all = append(all, m.policy.TargetDomain)
	}
	for _, m := range w.machines {
		present = append(present, m.policy.TargetDomain)
	}
	slices.Sort(all)
	return replicator.NewMeeting(runid.New(), w.group, all, present)
}

// group is all machines of a group, sorted by name.
func (s *Service) group(name string) (all []*machine) {
	for _, m := range s.machines {
		if m.policy.Group == name {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(a.policy.Domain, b.policy.Domain), cmp.Compare(a.key, b.key))
	})
	return all
}

// tellGroup tells who asks for a sync of a machine who is synced with it, and who that has
// to wait for.
func (s *Service) tellGroup(m *machine, out event.Sink) {
	if m.policy.Group == "" {
		return
	}
	var with []string
	for _, o := range s.group(m.policy.Group) {
		if o != m && o.record.Paused == nil {
			with = append(with, o.policy.Domain)
		}
		if o != m && o.run != nil {
			out.Emit(event.Notice{Message: "waiting for run " + o.run.record.ID + " of " + o.policy.Domain + " to end, which is under way"})
		}
	}
	if len(with) > 0 {
		out.Emit(event.Notice{Message: m.policy.Domain + " belongs to group " + m.policy.Group + ": it is synced together with " + strings.Join(with, ", ")})
	}
}
