package main

import (
	"fmt"

	"vmsync/tests/lab"
)

// fullCase compares a whole first sync of vda (checkpoint, SSH, checksums,
// commit, definition) with nbdcopy, over a link.
func fullCase(link lab.Link, goal float64) func(*bench, int) ([]row, error) {
	return func(b *bench, rounds int) (rows []row, err error) {
		if _, err := b.machine(); err != nil {
			return nil, err
		}
		err = b.over(link, func() error {
			c, err := b.compare(rounds, contender{"nbdcopy", b.nbdcopy}, contender{"vmsync", b.fullSync})
			if err != nil {
				return err
			}
			theirs, ours := c[0], c[1]
			rows = []row{row{what: "full sync, " + linkText(link), ours: fmt.Sprint(ours), reference: "nbdcopy " + fmt.Sprint(theirs)}.
				atMost("%.2f ×", ours.wall.Seconds()/theirs.wall.Seconds(), goal)}
			return nil
		})
		return rows, err
	}
}

// fullSync replicates vda in full to an empty store.
func (b *bench) fullSync() (cost, error) {
	if err := b.forget("vm1"); err != nil {
		return cost{}, err
	}
	s, err := b.sync("vm1", "--disk", "vda")
	return s.cost, err
}
