package main

import (
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/tests/lab"
)

// idleMachines is how many machines daemon-idle has the service look after.
const idleMachines = 100

// daemonIdleCase has the service look after many machines of which none changes, and
// measures what that costs: first with continuous replication, then by the clock, between
// two runs. Rounds do not matter: it measures for as long as -for says.
func daemonIdleCase(b *bench, _ int) (rows []row, err error) {
	machines, err := b.crowd(idleMachines)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, m := range machines {
			err = b.discard(m, err)
		}
	}()
	const all = serviceHead + "concurrency: {total: 4, per_source: 4}\nmachines: [{name: 'idle-*', %s}]\n"
	err = b.withService(fmt.Sprintf(all, "rpo: 30s, quiesce: no"), func() error {
		start := time.Now()
		if err := b.awaitReplicas(idleMachines); err != nil {
			return err
		}
		b.logf("  %d machines replicated for the first time after %v", idleMachines, time.Since(start).Round(time.Second))
		for _, schedule := range []string{"rpo: 30s, quiesce: no", "every: 12h, quiesce: no"} {
			if err := b.configure(fmt.Sprintf(all, schedule)); err != nil {
				return err
			}
			if _, err := b.hostb.Run(b.ctx, "systemctl", "reload", "vmsync"); err != nil {
				return err
			}
			got, err := b.idling(fmt.Sprintf("service with %d machines of which none changes, %s", idleMachines, schedule))
			rows = append(rows, got...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return rows, err
}

// crowd makes machines that are paused, each with a small disk.
func (b *bench) crowd(n int) ([]*lab.Machine, error) {
	machines := make([]*lab.Machine, n)
	g, ctx := errgroup.WithContext(b.ctx)
	g.SetLimit(4)
	for i := range machines {
		g.Go(func() (err error) {
			machines[i], err = b.hosta.CreateMachine(ctx, lab.MachineSpec{Name: fmt.Sprintf("idle-%03d", i),
				Disks: []lab.DiskSpec{{Target: "vda", Size: 64 * mib}}})
			return err
		})
	}
	return machines, g.Wait()
}

// idling measures the service for a while. It waits first, for what the start left to do.
func (b *bench) idling(what string) ([]row, error) {
	const settle = 90 * time.Second
	if err := b.sleep(settle); err != nil {
		return nil, err
	}
	before, err := b.serviceTime()
	if err != nil {
		return nil, err
	}
	source, err := b.hosta.CPUTime()
	if err != nil {
		return nil, err
	}
	start, peak := time.Now(), int64(0)
	for time.Since(start) < b.span {
		if err := b.sleep(time.Second); err != nil {
			return nil, err
		}
		resident, err := b.serviceMemory()
		if err != nil {
			return nil, err
		}
		peak = max(peak, resident)
	}
	after, err := b.serviceTime()
	if err != nil {
		return nil, err
	}
	sourceAfter, err := b.hosta.CPUTime()
	if err != nil {
		return nil, err
	}
	machines, err := b.standing()
	if err != nil {
		return nil, err
	}
	broken, oldest := 0, 0.0
	for _, m := range machines {
		if m.Broken() {
			broken++
		}
		if m.Age != nil {
			oldest = max(oldest, *m.Age)
		}
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(start).Seconds() }
	ours := fmt.Sprintf("source host %.1f %% of a core; oldest replica %.0f s, %d older than promised", share(sourceAfter-source), oldest, broken)
	b.logf("  %s: %.2f %% of a core, %d MiB; %s", what, share(after-before), peak/mib, ours)
	return []row{
		row{what: what + ": processor", ours: ours}.atMost("%.2f %% of a core", share(after-before), 1),
		row{what: what + ": memory, with children"}.atMost("%.0f MiB", float64(peak)/mib, 100),
	}, nil
}
