package main

import (
	"fmt"
	"time"

	"vmsync/tests/lab"
)

// scatteredCase replicates 20,000 changed extents of 64 KiB, each on its own,
// that do not compress, over a slow and long link: is the link used?
func scatteredCase(b *bench, rounds int) (rows []row, err error) {
	const (
		extents = 20_000
		length  = 64 << 10
		size    = 64 * gib
	)
	vm, err := b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: "scattered", Disks: []lab.DiskSpec{{Target: "vda", Size: size}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = b.discard(vm, err) }()
	if _, err := b.sync(vm.Name()); err != nil {
		return nil, err
	}
	var transfer, whole time.Duration
	var sent int64
	for range rounds {
		err := b.dirty(vm, "vda", func(yield func(change) bool) {
			for i := range int64(extents) {
				if !yield(change{offset: i * (size / extents) / length * length, length: length}) {
					return
				}
			}
		})
		if err != nil {
			return nil, err
		}
		err = b.over(slowLink, func() error {
			s, err := b.sync(vm.Name())
			b.logf("  vmsync: %v", s.cost)
			transfer, whole, sent = transfer+s.transfer, whole+s.wall, sent+s.sent
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if sent < int64(rounds)*extents*length {
		return nil, fmt.Errorf("%d bytes were sent for %d changed ones that do not compress", sent, rounds*extents*length)
	}
	used := func(d time.Duration) float64 { return float64(sent) * 8 / d.Seconds() / float64(slowLink.Rate) * 100 }
	text := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()/float64(rounds)) }
	return []row{
		row{what: "20,000 scattered extents, " + linkText(slowLink) + ", transfer: link used", ours: text(transfer)}.
			atLeast("%.1f %%", used(transfer), 90),
		row{what: "the same, whole command: link used", ours: text(whole)}.atLeast("%.1f %%", used(whole), 90),
	}, nil
}
