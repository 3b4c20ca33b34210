package ui

import (
	"vmsync/internal/event"
)

// groupText says with whom a state was taken together.
func groupText(g *event.Group) string {
	s := "in set " + clean(g.ID) + " of group " + clean(g.Name)
	if !g.OneInstant {
		s += ", not at one instant"
	}
	return s
}
