package main

import (
	"context"
	"fmt"
	"time"
)

// groupName is the consistency group of the machines that have it in their policy.
const groupName = "office"

// wholeSet checks that the group's machines, which are on both sources, hold states of one
// instant that were taken after a moment.
func (f *fleet) wholeSet(ctx context.Context, after time.Time) error {
	return eventually(ctx, 3*time.Minute, "the group has a set of one instant", func() error {
		var members []string
		holders := map[string]int{} // states by set
		for _, m := range f.machines {
			held, err := manifest(f.target, m.name)
			if err != nil {
				return err
			}
			for _, s := range held.States {
				if s.Group == nil || !s.Group.OneInstant || s.Time.Before(after) {
					continue
				}
				holders[s.Group.ID]++
				members = s.Group.Members
			}
		}
		for id, n := range holders {
			if n == len(members) && n > 1 {
				f.say("set %s of group %s was taken at one instant of %q", id, groupName, members)
				return nil
			}
		}
		return fmt.Errorf("sets by how many machines hold them: %v, of %q", holders, members)
	})
}
