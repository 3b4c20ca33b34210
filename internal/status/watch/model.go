package watch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// Bounds of what is kept.
const (
	keptRuns   = 40 // of each machine
	keptEvents = 200
)

// Model is all that is known and chosen. Its methods change nothing. The zero value knows
// nothing, and is shown once Size has told the screen's.
type Model struct {
	width, height int
	only          string // the one machine to show, as NAME or SOURCE/NAME; empty: all

	now      time.Time // of the last message that has a time
	status   *api.Status
	runs     map[string][]history.Run // by key, newest first
	events   []api.Event              // newest last
	trouble  string                   // why the service is not reached; empty while it is
	since    time.Time                // when that began
	busiest  int                      // most runs under way at once, which keeps the rows below still
	selected string                   // key of a machine
	top      int                      // first row of the table
	order    order
	filter   string
	typing   bool // a filter
	help     bool
	details  bool // they are large
}

// New is a model that shows one machine, or with an empty name all.
func New(only string) Model { return Model{only: only} }

// order is what the table is sorted by.
type order int

const (
	byName order = iota
	byHealth
	byAge // against what is promised
	byLast
	orders
)

func (o order) String() string { return [...]string{"name", "health", "age", "last run"}[o] }

func key(m *api.Machine) string { return history.Key(m.Source, m.Name) }

// matches tells whether NAME or SOURCE/NAME means a machine.
func matches(only, source, name string) bool {
	return only == "" || only == name || only == source+"/"+name
}

// machines are those of the table, in its order.
func (m Model) machines() []*api.Machine {
	if m.status == nil {
		return nil
	}
	var all []*api.Machine
	for i := range m.status.Machines {
		one := &m.status.Machines[i]
		if matches(m.only, one.Source, one.Name) && strings.Contains(strings.ToLower(key(one)), strings.ToLower(m.filter)) {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b *api.Machine) int {
		switch m.order {
		case byHealth:
			return cmp.Compare(badness(a.Health), badness(b.Health))
		case byAge:
			return cmp.Compare(part(b), part(a))
		case byLast:
			return lastEnd(b).Compare(lastEnd(a))
		}
		return 0 // as the service sorts them
	})
	return all
}

// badness sorts the worst first.
func badness(h api.Health) int {
	return slices.Index([]api.Health{schedule.Broken, schedule.AtRisk, schedule.Healthy, api.Paused}, h)
}

// part is the age of a replica as a part of what is promised; of none it is more than any.
func part(m *api.Machine) float64 {
	switch {
	case m.Age == nil:
		return 1e9
	case m.RPO <= 0:
		return 0
	}
	return *m.Age / m.RPO
}

func lastEnd(m *api.Machine) time.Time {
	if m.Last == nil {
		return time.Time{}
	}
	return m.Last.Ended
}

// chosen is the selected machine: the one that was, or else the first.
func (m Model) chosen(all []*api.Machine) int {
	return max(0, slices.IndexFunc(all, func(one *api.Machine) bool { return key(one) == m.selected }))
}

// syncing are the machines with a run under way, the oldest first.
func (m Model) syncing() []*api.Machine {
	var all []*api.Machine
	if m.status == nil {
		return nil
	}
	for i := range m.status.Machines {
		if one := &m.status.Machines[i]; one.Running != nil && matches(m.only, one.Source, one.Name) {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b *api.Machine) int { return a.Running.Began.Compare(b.Running.Began) })
	return all
}

// remember adds a run to those of its machine, or replaces it there.
func remember(runs []history.Run, r history.Run) []history.Run {
	all := append([]history.Run{r}, slices.DeleteFunc(slices.Clone(runs), func(old history.Run) bool { return old.ID == r.ID })...)
	slices.SortStableFunc(all, func(a, b history.Run) int { return b.Began.Compare(a.Began) })
	return all[:min(len(all), keptRuns)]
}
