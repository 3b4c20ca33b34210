package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/units"
	"vmsync/tests/lab"
)

// continuousConfig has one guest replicated continuously.
const continuousConfig = serviceHead + "machines: [{name: writer, rpo: 5s}]\n"

// continuousCase has a guest write 10 MiB/s that do not compress, and tells how old its
// replica was meanwhile, for as long as -for says.
func continuousCase(b *bench, _ int) (rows []row, err error) {
	err = b.withWriter(func(vm *lab.Machine) error {
		return b.withService(continuousConfig, func() error {
			if err := b.awaitReplicas(1); err != nil {
				return err
			}
			stop, err := b.guestWrites(vm, 10)
			if err != nil {
				return err
			}
			if err := b.sleep(20 * time.Second); err != nil { // what led up to it does not count
				return err
			}
			from, before, err := b.written(vm)
			if err != nil {
				return err
			}
			if err := b.sleep(b.span); err != nil {
				return err
			}
			to, after, err := b.written(vm)
			if err != nil {
				return errors.Join(err, stop())
			}
			runs, err := b.runsOf(vm.Name())
			if err != nil {
				return errors.Join(err, stop())
			}
			log, err := b.hostb.Run(b.ctx, "journalctl", "-u", "vmsync", "-o", "cat", "--no-pager")
			if err != nil {
				return errors.Join(err, stop())
			}
			b.logf("  phases: %s", phases(log))
			rate := float64(after-before) / to.Sub(from).Seconds()
			rows = b.rpoRows(runs, from, to, rate)
			return stop()
		})
	})
	return rows, err
}

// rpoRows tells how old the replica was, and what the runs took.
func (b *bench) rpoRows(runs []history.Run, from, to time.Time, rate float64) []row {
	var took, frozen []time.Duration
	failed := 0
	for _, r := range runs {
		switch {
		case r.Began.Before(from):
		case r.Outcome == history.Succeeded:
			took = append(took, r.Duration(to))
			frozen = append(frozen, time.Duration(r.Frozen*float64(time.Second)))
		case r.Outcome == history.Failed:
			failed++
		}
	}
	old := ages(runs, from, to, 10*time.Millisecond)
	s := func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
	ours := fmt.Sprintf("p50 %s, p95 %s, max %s; %d syncs, %d failed", s(quantile(old, 0.5)), s(quantile(old, 0.95)), s(quantile(old, 1)), len(took), failed)
	detail := fmt.Sprintf("guest wrote %.1f MiB/s; a sync took %s (longest %s), froze for %s (longest %s)", rate,
		s(middle(took)), s(longest(took)), s(middle(frozen)), s(longest(frozen)))
	b.logf("  %s; %s", ours, detail)
	return []row{row{what: "age of a replica with rpo: 5s over " + units.FormatDuration(b.span) + "; " + detail, ours: ours}.
		atMost("%.2f s", quantile(old, 1).Seconds(), 5)}
}

// withWriter makes the guest that writes, and removes it afterwards. Its content is on
// /mnt/vda, what it writes on /tmp, in its memory.
func (b *bench) withWriter(do func(*lab.Machine) error) error {
	vm, err := b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: "writer", Guest: true, Disks: []lab.DiskSpec{{Target: "vda", Size: gib}}})
	if err == nil {
		_, err = vm.Control(b.ctx, "dd if=/dev/urandom of=/tmp/chunk bs=1M count=10 2>/dev/null; echo 0 >/tmp/written")
	}
	if err == nil {
		err = do(vm)
	}
	if vm == nil {
		return err
	}
	return b.discard(vm, err)
}

// guestWrites has a guest write 10 MiB at a time, in order over 600 MiB of one file and from
// its beginning again, each time down to the disk, at most so many MiB a second; 0 is no
// limit. What it has written is in /tmp/written.
func (b *bench) guestWrites(vm *lab.Machine, limit int) (stop func() error, err error) {
	pace := ""
	if limit > 0 {
		pace = fmt.Sprintf("sleep %d & ", 10/limit)
	}
	loop := "i=0; while [ ! -e /tmp/stop ]; do " + pace +
		"dd if=/tmp/chunk of=/mnt/vda/data bs=1M count=10 seek=$((i % 60 * 10)) conv=notrunc,fsync 2>/dev/null || exit; " +
		"i=$((i+1)); echo $((i*10)) >/tmp/written.new; mv /tmp/written.new /tmp/written; wait; done"
	if _, err := vm.Control(b.ctx, "rm -f /tmp/stop; echo 0 >/tmp/written; ("+loop+") >/dev/null 2>&1 </dev/null &"); err != nil {
		return nil, err
	}
	return func() error {
		_, err := vm.Control(context.WithoutCancel(b.ctx), "touch /tmp/stop; sleep 3")
		return err
	}, nil
}

// written tells how many MiB a guest has written, and when that was.
func (b *bench) written(vm *lab.Machine) (time.Time, int, error) {
	out, err := vm.Control(b.ctx, "cat /tmp/written")
	if err != nil {
		return time.Time{}, 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	return time.Now(), n, err
}

// runsOf are a machine's runs, as the service has them.
func (b *bench) runsOf(name string) ([]history.Run, error) {
	return api.NewClient(b.hostb.Path(api.DefaultSocket)).Runs(b.ctx, name, 10000)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return quantile(all, 0.5)
}

func longest(all []time.Duration) time.Duration {
	slices.Sort(all)
	return quantile(all, 1)
}
