package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/notify"
	"vmsync/internal/schedule"
)

// sample is how one replica stood at a moment.
type sample struct {
	machine string
	at      time.Time
	head    time.Time     // of the checkpoint, by the store
	rpo     time.Duration // promised
	fresh   time.Time     // as the service says
	broken  bool          // as the service says
}

// look takes a sample of each machine.
func (f *fleet) look(ctx context.Context) ([]sample, error) {
	// The store first: a state that is stored in between makes it look older, not fresher.
	heads := map[string]time.Time{}
	for _, m := range f.machines {
		h, err := head(f.target, m.name)
		if err != nil {
			return nil, err
		}
		heads[m.name] = h.Time
	}
	at := time.Now()
	stands, err := f.status(ctx)
	if err != nil {
		return nil, err
	}
	var all []sample
	for _, m := range f.machines {
		s, ok := stands[m.name]
		if !ok {
			return nil, fmt.Errorf("the service does not know %s any more", m.name)
		}
		after, err := head(f.target, m.name)
		if err != nil {
			return nil, err
		}
		if after.Time != heads[m.name] {
			continue // which of both the service spoke of is not known
		}
		all = append(all, sample{machine: m.name, at: at, head: after.Time, rpo: time.Duration(s.RPO * float64(time.Second)),
			fresh: s.Fresh, broken: s.Health == schedule.Broken})
	}
	return all, nil
}

// span is a time in which a replica was older than promised.
type span struct {
	from, to time.Time // by the samples
	reported time.Time // when the service first said so; zero: never
}

// spans are the times in which a machine's replica was older than promised. A replica's age
// counts from its checkpoint here, which comes after the sync has begun from which the
// service counts.
func spans(samples []sample) []span {
	var all []span
	open := false
	for _, s := range samples {
		old := s.at.Sub(s.head) > s.rpo
		switch {
		case old && !open:
			all = append(all, span{from: s.head.Add(s.rpo), to: s.at})
			open = true
		case !old:
			open = false
		}
		if open {
			last := &all[len(all)-1]
			last.to = s.at
			if s.broken && last.reported.IsZero() {
				last.reported = s.at
			}
		}
	}
	return all
}

// faults are what the service must not do, by samples of one machine in order of time.
func faults(m *machine, samples []sample) []error {
	var all []error
	for _, sp := range spans(samples) {
		switch {
		case sp.reported.IsZero() && sp.to.Sub(sp.from) > m.period:
			all = append(all, fmt.Errorf("%s was older than promised for %v, and the service did not say so", m.name, sp.to.Sub(sp.from)))
		case sp.reported.Sub(sp.from) > m.period:
			all = append(all, fmt.Errorf("%s was older than promised, and the service said so only after %v", m.name, sp.reported.Sub(sp.from)))
		}
	}
	for _, s := range samples {
		// Guests write every few seconds, so that a look that finds nothing changed is
		// right for about as long.
		if s.fresh.Sub(s.head) > writePause {
			all = append(all, fmt.Errorf("%s: the service says its replica is as of %v, its checkpoint is of %v", m.name, s.fresh, s.head))
			break
		}
	}
	return all
}

// writePause is how long a guest may at most write nothing, which it does while its agent
// is asked by others or its host is down.
const writePause = 90 * time.Second

// judge tells how each machine fared, and what was wrong.
func (f *fleet) judge(samples []sample, told []notify.News) error {
	var wrong []error
	fmt.Fprintf(f.out, "\n%-10s %8s %8s %8s %8s  %s\n", "machine", "promise", "median", "worst", "broken", "older than promised (said after)")
	for _, m := range f.machines {
		own := slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.machine != m.name })
		if len(own) == 0 {
			return fmt.Errorf("there are no samples of %s", m.name)
		}
		var ages []time.Duration
		for _, s := range own {
			ages = append(ages, s.at.Sub(s.head))
		}
		slices.Sort(ages)
		var broken time.Duration
		text := ""
		for _, sp := range spans(own) {
			broken += sp.to.Sub(sp.from)
			said := "not said"
			if !sp.reported.IsZero() {
				said = fmt.Sprintf("%.1fs", max(0, sp.reported.Sub(sp.from)).Seconds())
			}
			text += fmt.Sprintf(" %.0fs-%.0fs (%s)", sp.from.Sub(f.began).Seconds(), sp.to.Sub(f.began).Seconds(), said)
		}
		fmt.Fprintf(f.out, "%-10s %7.0fs %7.1fs %7.1fs %7.0fs %s\n", m.name, own[0].rpo.Seconds(), ages[len(ages)/2].Seconds(),
			ages[len(ages)-1].Seconds(), broken.Seconds(), text)
		wrong = append(wrong, faults(m, own)...)
		wrong = append(wrong, untold(m, own, told)...)
	}
	count := map[config.Event]int{}
	for _, n := range told {
		count[n.Event]++
	}
	fmt.Fprintf(f.out, "told: %v\n", count)
	return errors.Join(wrong...)
}
