package main

import "fmt"

// idleCase replicates both disks of vm1 when nothing has changed since the last
// time: what a run costs that has nothing to do.
func idleCase(b *bench, rounds int) ([]row, error) {
	if _, err := b.machine(); err != nil {
		return nil, err
	}
	if _, err := b.sync("vm1"); err != nil {
		return nil, err
	}
	c, err := b.compare(rounds, contender{"vmsync", func() (cost, error) {
		s, err := b.sync("vm1")
		return s.cost, err
	}})
	if err != nil {
		return nil, err
	}
	return []row{row{what: "incremental, two disks, nothing changed", ours: fmt.Sprint(c[0])}.
		atMost("%.2f s", c[0].wall.Seconds(), idleGoal.Seconds())}, nil
}
