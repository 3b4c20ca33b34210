package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"vmsync/internal/event"
	"vmsync/tests/lab"
)

// options say what to play.
type options struct {
	rounds   int
	seed     uint64
	from     int    // scenes that end before this round are left out
	only     int    // one round, with those before it in its scene; -1: all
	root     string // of the programs' source
	programs string // folder with them, built with fault points
	evidence string // folder for what explains a failure
	out      io.Writer
}

// campaign is many rounds in one lab. Machines run on hosta and are replicated to
// hostb; op is the third host.
type campaign struct {
	options
	product      product
	lab          *lab.Lab
	hosta, hostb *lab.Host
	op           *lab.Host
	durations    map[event.Phase]time.Duration // how long phases usually take
	passed       map[string]int                // how often a sync was held at a point
	results      []result
}

// play plays a campaign in a lab of its own. It ends with the first round that fails.
func play(ctx context.Context, o options) (results []result, err error) {
	c := &campaign{options: o, passed: make(map[string]int), durations: make(map[event.Phase]time.Duration)}
	for _, p := range phases {
		c.durations[p] = 300 * time.Millisecond // until it is known
	}
	if c.product.points, err = findPoints(o.root); err != nil {
		return nil, err
	}
	install := make(map[string]string)
	for _, p := range []string{"vmsync", "vmsync-nbd"} {
		install[filepath.Join(o.programs, p)] = "/usr/local/bin/" + p
	}
	if c.lab, err = lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Install: install}); err != nil {
		return nil, fmt.Errorf("bring up the lab (`make faults` builds what it needs): %w", err)
	}
	defer func() { err = errors.Join(err, c.lab.Down()) }()
	c.hosta, c.hostb, c.op = c.lab.Host("hosta"), c.lab.Host("hostb"), c.lab.Host("op")
	help, err := c.hostb.Run(ctx, "vmsync", "sync", "--help")
	if err != nil {
		return nil, err
	}
	c.product.keeps = strings.Contains(help, "--keep ")
	for number, first := 0, 0; first < o.rounds || o.only >= first; number++ {
		s := planScene(o.seed, number, first)
		end := first + s.rounds
		if end > o.from && (o.only < 0 || o.only < end) {
			if err := c.playScene(ctx, s); err != nil {
				return c.results, err
			}
			if o.only >= 0 {
				break
			}
		}
		first = end
	}
	c.tellPoints()
	return c.results, nil
}

// playScene plays the rounds of a scene, as far as they are asked for.
func (c *campaign) playScene(ctx context.Context, plan scenePlan) (err error) {
	last := plan.first + plan.rounds - 1
	if c.only >= 0 {
		last = c.only
	} else {
		last = min(last, c.rounds-1)
	}
	s, err := c.set(ctx, plan)
	if err != nil {
		return err
	}
	for n := plan.first; n <= last; n++ {
		p := planRound(c.seed, n, plan, c.product)
		r := &round{c: c, s: s, plan: p, pair: s.pairs[p.pair], machine: s.pairs[p.pair].machine}
		if err := c.playRound(ctx, r); err != nil {
			return err
		}
	}
	return c.strike(ctx, s)
}

func (c *campaign) playRound(ctx context.Context, r *round) error {
	defer func() {
		for _, run := range r.runs {
			run.close()
		}
	}()
	planned := r.plan
	res, err := r.play(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.plan = planned
		fmt.Fprintf(c.out, "round %d seed %d: %s, %s: FAILED: %v\n", planned.number, c.seed, res.fault, res.step, err)
		dir := c.keepEvidence(ctx, r, err)
		return fmt.Errorf("round %d failed: %w\nevidence: %s\nrepeat: %s", planned.number, err, dir, c.repeat(planned.number))
	case r.injected.IsZero():
		fmt.Fprintf(c.out, "round %d seed %d: %s, %s: came too late, %.1f s\n", planned.number, c.seed, res.fault, res.step, res.took.Seconds())
	default:
		c.results = append(c.results, res)
		fmt.Fprintf(c.out, "round %d seed %d: %s, %s: %s, %.1f s\n", planned.number, c.seed, res.fault, res.step, res.outcome(), res.took.Seconds())
	}
	return nil
}

// usual is how long each phase of a round's sync usually takes.
func (c *campaign) usual(p roundPlan) map[event.Phase]time.Duration {
	if !p.slow {
		return c.durations
	}
	slow := make(map[event.Phase]time.Duration)
	for phase, d := range c.durations {
		slow[phase] = d
	}
	slow[event.PhaseTransfer] = 600 * time.Millisecond
	return slow
}

// learnDurations learns how long phases take from a sync that nothing happened to.
func (c *campaign) learnDurations(r *round) {
	if !r.injected.IsZero() && r.run == r.runs[0] || r.machine.guest || r.plan.slow {
		return
	}
	for _, l := range r.run.lines {
		if l.Event == "phase_finished" {
			took := time.Duration(l.Duration * float64(time.Second))
			c.durations[l.Phase] = (3*c.durations[l.Phase] + took) / 4
		}
	}
}

// tellPoints tells the points that no sync was held at.
func (c *campaign) tellPoints() {
	var never []string
	for _, p := range c.product.points {
		if c.passed[p] == 0 {
			never = append(never, p)
		}
	}
	if len(never) > 0 {
		fmt.Fprintf(c.out, "fault points that no fault was injected at: %s\n", strings.Join(never, ", "))
	}
}
