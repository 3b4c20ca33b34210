package main

import (
	"context"
	"errors"
	"fmt"

	"vmsync/tests/lab"
)

// memoryCase replicates a disk of 1 TiB, in full when it is almost empty, then
// with a million changed extents, and looks at the memory that each vmsync-nbd
// takes.
func memoryCase(b *bench, rounds int) (rows []row, err error) {
	vm, err := b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: "huge", Disks: []lab.DiskSpec{{Target: "vda", Size: tib}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = b.discard(vm, err) }()
	for range rounds {
		rows = nil
		if err := b.forget(vm.Name()); err != nil {
			return nil, err
		}
		for _, c := range []struct {
			what    string
			changes func(yield func(change) bool)
		}{
			{"1 TiB disk, full, 1 GiB of data", scatter(1024, mib, 1)},
			{"1 TiB disk, a million changed extents, 1 GiB of data", scatter(mib, 64<<10, 64)},
		} {
			if err := b.dirty(vm, "vda", c.changes); err != nil {
				return nil, err
			}
			got, err := b.peaks(vm.Name(), c.what)
			if err != nil {
				return nil, err
			}
			rows = append(rows, got...)
		}
	}
	return rows, nil
}

// scatter yields n extents of a length, spread evenly over 1 TiB; each dataEvery-th
// is data, the others are zeros.
func scatter(n, length int64, dataEvery int64) func(yield func(change) bool) {
	return func(yield func(change) bool) {
		for i := range n {
			if !yield(change{offset: i * (tib / n), length: length, zero: i%dataEvery != 0}) {
				return
			}
		}
	}
}

// peaks replicates a machine and judges the memory of both vmsync-nbd.
func (b *bench) peaks(machine, what string) ([]row, error) {
	const goal = 128 // MiB
	ends := []struct {
		host    *lab.Host
		command string
	}{{b.hosta, "serve"}, {b.hostb, "apply"}}
	watched := make([]*watch, len(ends))
	for i, e := range ends {
		watched[i] = b.watch(e.host, "vmsync-nbd "+e.command)
	}
	s, err := b.sync(machine)
	b.logf("  %s: %v", what, s.cost)
	var rows []row
	for i, e := range ends {
		peak, werr := watched[i].stop()
		err = errors.Join(err, werr)
		rows = append(rows, row{what: what + ": peak memory of " + e.command, ours: fmt.Sprint(s.cost)}.
			atMost("%.0f MiB", float64(peak)/mib, goal))
	}
	return rows, err
}

// discard removes a machine of one case from both hosts, to give its space back;
// err is what the case ended with.
func (b *bench) discard(vm *lab.Machine, err error) error {
	if b.ctx.Err() != nil {
		return err // the lab goes as a whole
	}
	return errors.Join(err, b.forget(vm.Name()), vm.Remove(context.WithoutCancel(b.ctx)))
}
