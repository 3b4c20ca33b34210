package main

import (
	"fmt"
	"slices"
	"time"

	"vmsync/tests/lab"
)

// guestCostCase has a guest write as fast as it can, by turns with continuous replication
// and without, and compares how much it gets written.
func guestCostCase(b *bench, rounds int) (rows []row, err error) {
	const turn = 30 * time.Second
	err = b.withWriter(func(vm *lab.Machine) error {
		return b.withService(continuousConfig, func() error {
			if err := b.awaitReplicas(1); err != nil {
				return err
			}
			stop, err := b.guestWrites(vm, 0)
			if err != nil {
				return err
			}
			with, without := []float64{}, []float64{}
			for range rounds {
				for _, replicated := range []bool{false, true} {
					rate, err := b.writeRate(vm, replicated, turn)
					if err != nil {
						return err
					}
					b.logf("  replicated %v: %.1f MiB/s", replicated, rate)
					if replicated {
						with = append(with, rate)
					} else {
						without = append(without, rate)
					}
				}
			}
			slices.Sort(with)
			slices.Sort(without)
			w, wo := with[len(with)/2], without[len(without)/2]
			rows = []row{{what: "writes of a guest, replicated with rpo: 5s", ours: fmt.Sprintf("%.1f MiB/s", w),
				reference: fmt.Sprintf("not replicated %.1f MiB/s", wo), figure: fmt.Sprintf("%.2f ×", w/wo)}}
			return stop()
		})
	})
	return rows, err
}

// writeRate is how many MiB a second the guest writes, replicated or not.
func (b *bench) writeRate(vm *lab.Machine, replicated bool, turn time.Duration) (float64, error) {
	verb := "pause"
	if replicated {
		verb = "resume"
	}
	if _, err := b.hostb.Run(b.ctx, "vmsync", verb, vm.Name()); err != nil {
		return 0, err
	}
	if err := b.sleep(15 * time.Second); err != nil { // a run that is under way, or the backlog
		return 0, err
	}
	from, before, err := b.written(vm)
	if err != nil {
		return 0, err
	}
	if err := b.sleep(turn); err != nil {
		return 0, err
	}
	to, after, err := b.written(vm)
	return float64(after-before) / to.Sub(from).Seconds(), err
}
