package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vmsync/tests/lab"
)

// Bounds of a round.
const (
	// faultyLimit is how long a sync may take that something happens to. A cut cable is
	// noticed after 30 s.
	faultyLimit = 2 * time.Minute
	// retryLimit is how long one may take that is tried after it.
	retryLimit = 60 * time.Second
	retries    = 3
	// guardStays is how long something may be left after all is well: a guard whose
	// agent died while it was asking libvirt for a backup looks for 45 s whether that begins
	// after all.
	guardStays = 60 * time.Second
)

// round is one fault in one sync, and what is made good afterwards.
type round struct {
	c       *campaign
	s       *scene
	plan    roundPlan
	pair    *pair
	machine *machine
	runs    []*syncRun // all of this round, the last one being under way
	run     *syncRun   // the last one
	holds   holds
	notes   []string // for people

	injected time.Time // zero: not yet
	struck   string    // the step it was injected at
	mended   bool
	// lost is set when the machine was restarted so that what changes since the sync that
	// was under way then is not tracked.
	lost bool
}

func (r *round) note(format string, args ...any) {
	r.notes = append(r.notes, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// play plays the round. An error is a wrong byte, a stuck pair, something left over,
// or a fault of this program or its surroundings.
func (r *round) play(ctx context.Context) (result, error) {
	began := time.Now()
	res := result{round: r.plan.number, fault: r.plan.fault.name}
	if err := r.machine.apply(ctx, r.plan.before); err != nil {
		return res, err
	}
	before := r.pair.newest
	err := r.attempt(ctx, true)
	if res.step = r.struck; res.step == "" {
		res.step = r.plan.step.String()
	}
	if err != nil {
		return res, err
	}
	r.note("the sync in which that happened: %s", r.run.outcome())
	if err := r.makeGood(ctx); err != nil {
		return res, err
	}
	over := time.Now()
	if err := r.learn(ctx); err != nil {
		return res, err
	}
	res.gained = r.pair.newest > before
	ok, err := r.succeeded(before)
	if err != nil {
		return res, err
	}
	if err := r.machine.apply(ctx, r.plan.after); err != nil {
		return res, err
	}
	if ok {
		// Who was killed when all that mattered was done has not tidied up. The next run
		// does.
		if err := r.c.nothingLeft(ctx, r.s, 5*time.Second); err != nil {
			r.note("%v", err)
			ok = false
		}
	}
	for !ok {
		if res.tries++; res.tries > retries {
			return res, fmt.Errorf("stuck: %d syncs after the fault failed, the last one with %s", retries, r.run.outcome())
		}
		before, r.lost = r.pair.newest, false
		if err := r.attempt(ctx, false); err != nil {
			return res, err
		}
		if err := r.learn(ctx); err != nil {
			return res, err
		}
		if ok, err = r.succeeded(before); err != nil {
			return res, err
		}
	}
	res.recovery = time.Since(over)
	err = r.check(ctx)
	res.took = time.Since(began)
	return res, err
}

// succeeded says whether the last sync did, and whether it did what it said. before is
// the generation of the head that it found.
func (r *round) succeeded(before int64) (bool, error) {
	if r.run.code != 0 {
		return false, nil
	}
	if r.pair.newest <= before {
		return true, errors.New("the sync says that it succeeded, and the replica's head is the old one")
	}
	if before > 0 && r.pair.tracked && r.run.full() {
		return true, errors.New("the source's machine ran on, and yet its changes since the head were lost: whole disks were copied")
	}
	r.pair.tracked = !r.lost
	return true, nil
}

// learn takes what the manifest says of the last attempt, and looks at the states
// where the plan says so.
func (r *round) learn(ctx context.Context) error {
	rep, err := openReplica(ctx, r.c.hostb, r.pair.plan.store, r.pair.plan.domain)
	if err != nil || rep == nil {
		return err
	}
	defer rep.close()
	r.pair.learn(rep)
	if !r.plan.look || r.run.code == 0 {
		return nil // looked at anyway, later
	}
	return r.pair.compare(ctx, rep)
}

// check checks everything, after a sync that succeeded.
func (r *round) check(ctx context.Context) error {
	for _, p := range r.s.pairs {
		if p != r.pair && !r.last() {
			continue
		}
		if err := p.check(ctx, r.c.hostb); err != nil {
			return fmt.Errorf("replica %s: %w", p.plan.domain, err)
		}
	}
	if err := r.c.nothingLeft(ctx, r.s, guardStays); err != nil {
		return err
	}
	for _, m := range r.s.machines {
		if err := r.c.unharmed(ctx, m); err != nil {
			return err
		}
		if r.last() {
			if err := m.check(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// last says whether the scene ends with this round.
func (r *round) last() bool { return r.plan.number == r.s.plan.first+r.s.plan.rounds-1 }

// attempt runs one sync to its end, with the fault or without.
func (r *round) attempt(ctx context.Context, faulty bool) error {
	limit := retryLimit
	if faulty {
		limit = faultyLimit
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r.pair.truth.begin(r.machine.content())
	r.holds = holds{}
	defer func() {
		if err := r.holds.clear(); err != nil {
			r.note("%v", err)
		}
	}()
	if r.machine.guest {
		if err := r.holds.arm(r.c.hosta, captured); err != nil {
			return err
		}
	}
	if p := r.plan.step.point; faulty && p != "" && (p != captured || !r.machine.guest) {
		if err := r.holds.arm(r.hostOf(p), p); err != nil {
			return err
		}
	}
	var err error
	if r.run, err = startSync(bounded, r.controller(), r.args()...); err != nil {
		return err
	}
	r.runs = append(r.runs, r.run)
	wrote := !faulty
	for !r.run.ended() {
		if err := r.watch(ctx, faulty, &wrote); err != nil {
			cancel()
			<-r.run.done
			return err
		}
		select {
		case <-r.run.done:
		case <-time.After(2 * time.Millisecond):
		}
	}
	if bounded.Err() != nil {
		return fmt.Errorf("the sync did not end within %v: %w", limit, errors.Join(ctx.Err(), bounded.Err()))
	}
	if r.run.code == 0 {
		r.c.learnDurations(r)
	}
	return nil
}

// watch does what is to be done at this moment of a sync.
func (r *round) watch(ctx context.Context, faulty bool, wrote *bool) error {
	if r.machine.guest && r.holds.waiting(r.c.hosta, captured) {
		if err := r.capture(ctx); err != nil {
			r.note("the checkpoint was not read: %v", err)
		}
		if faulty && r.plan.step.point == captured {
			if err := r.injectHeld(ctx, captured); err != nil {
				return err
			}
		}
		if err := r.holds.release(r.c.hosta, captured); err != nil {
			return err
		}
	}
	if !faulty {
		return nil
	}
	if !*wrote && r.injected.IsZero() != r.plan.fault.writes && r.run.past(phases[2]) {
		*wrote = true
		if err := r.machine.apply(ctx, r.plan.during); err != nil {
			r.note("writes during the sync: %v", err)
		}
	}
	if f := r.plan.fault; f.lasts > 0 && !r.injected.IsZero() && !r.mended && time.Since(r.injected) > f.lasts {
		r.mended = true
		return f.mend(ctx, r)
	}
	return r.strike(ctx)
}

// strike injects the fault if its moment has come.
func (r *round) strike(ctx context.Context) error {
	if !r.injected.IsZero() {
		return nil
	}
	p := r.plan.step.point
	if p == "" {
		if !r.run.reached(r.plan.step, r.c.usual(r.plan)) {
			return nil
		}
		phase, _ := r.run.now()
		return r.inject(ctx, during(phase))
	}
	if host := r.hostOf(p); host.Running() && r.holds.waiting(host, p) {
		err := r.injectHeld(ctx, p)
		if host.Running() {
			err = errors.Join(err, r.holds.disarm(host, p), r.holds.release(host, p))
		}
		return err
	}
	return nil
}

// injectHeld injects the fault while a program is held at a point. If there is nothing
// to strike yet, it is struck as soon as there is.
func (r *round) injectHeld(ctx context.Context, point string) error {
	r.c.passed[point]++
	r.plan.step = step{phase: phases[0]}
	return r.inject(ctx, point)
}

func (r *round) inject(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if r.struck == "" {
		r.struck = at
	}
	ok, err := r.plan.fault.inject(ctx, r)
	if err != nil {
		return fmt.Errorf("inject %q: %w", r.plan.fault.name, err)
	}
	if ok {
		r.injected, r.struck = time.Now(), at
		r.note("%s, %s", r.plan.fault.name, at)
	}
	return nil
}

// makeGood does what the world does after a fault.
func (r *round) makeGood(ctx context.Context) error {
	if err := sleep(ctx, r.plan.pause); err != nil {
		return err
	}
	if f := r.plan.fault; !r.injected.IsZero() && f.mend != nil && !r.mended {
		if err := f.mend(ctx, r); err != nil {
			return fmt.Errorf("after the fault: %w", err)
		}
	}
	restarted, err := r.c.restart(ctx, r.s)
	if err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	clean := r.plan.fault.clean
	if clean && restarted[r.machine] {
		crashed, err := r.qemuCrashed()
		if err != nil {
			return err
		}
		clean = !crashed
	}
	for _, p := range r.s.pairs {
		p.tracked = p.tracked && (!restarted[p.machine] || clean)
	}
	r.lost = restarted[r.machine] && !clean
	for _, m := range r.s.machines {
		if restarted[m] || !m.sure {
			if err := m.check(ctx); err != nil {
				return err
			}
		}
	}
	if r.machine.guest && !r.plan.fault.frozen {
		return r.c.thawed(ctx, r.machine)
	}
	return nil
}

// hostOf is the host that passes a fault point.
func (r *round) hostOf(point string) *lab.Host {
	switch {
	case strings.HasPrefix(point, atSource):
		return r.c.hosta
	case strings.HasPrefix(point, atTarget):
		return r.c.hostb
	}
	return r.controller()
}

func (r *round) controller() *lab.Host {
	switch r.plan.from {
	case fromSource:
		return r.c.hosta
	case fromThird:
		return r.c.op
	}
	return r.c.hostb
}

// args is the command line of the round's syncs.
func (r *round) args() []string {
	p := r.pair.plan
	args := []string{"sync", r.machine.m.Name(), "--json", "--progress", "none", "-v", "--store", p.store, "--target-domain", p.domain,
		"--transport", r.plan.transport, "--compress", r.plan.compress}
	if r.plan.from != fromSource {
		args = append(args, "--source-uri", "qemu+ssh://root@hosta/system")
	}
	if r.plan.from != fromTarget {
		args = append(args, "--target-uri", "qemu+ssh://root@hostb/system")
	}
	if r.plan.slow && r.injected.IsZero() {
		args = append(args, "--rate", slowRate)
	}
	if p.keep != "" && r.c.product.keeps {
		args = append(args, "--keep", p.keep)
	}
	return args
}
