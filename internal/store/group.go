package store

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
)

// Group says which set a state belongs to: states of several machines whose checkpoints
// were taken together. The set is complete where each of its members holds a state with
// its id; what a single replica says is never enough to know that.
type Group struct {
	ID   string `json:"id"`   // 12 hex digits, random
	Name string `json:"name"` // as the service's configuration names the group
	// Members are the replicas of all machines that belonged to the group then, also of
	// those that could not take part; sorted, this one among them. All are in one store.
	Members []string `json:"members"`
	// OneInstant says that all who took part stood still, frozen, from before the first
	// checkpoint until after the last.
	OneInstant bool `json:"one_instant"`
}

var groupPattern = regexp.MustCompile(`^[0-9a-f]{12}$`)

// maxMembers bounds a group.
const maxMembers = 10000

func (g *Group) check(replica string) error {
	if g == nil {
		return nil
	}
	if !groupPattern.MatchString(g.ID) {
		return fmt.Errorf("bad group id %q", g.ID)
	}
	if len(g.Members) > maxMembers || !slices.Contains(g.Members, replica) {
		return fmt.Errorf("group %s: this replica is not one of its members", g.ID)
	}
	for _, m := range g.Members {
		if err := CheckDomainName(m); err != nil {
			return fmt.Errorf("group %s: %w", g.ID, err)
		}
	}
	return nil
}

// Missing names the members of a state's set that hold no state of it in the store: none
// where the set is complete. A replica that cannot be read counts as one that holds none.
// It looks at replicas without their locks.
func Missing(storeDir string, g *Group) []string {
	var missing []string
	for _, name := range g.Members {
		m, err := Read(storeDir, name)
		if err != nil || !slices.ContainsFunc(m.States, func(s State) bool { return s.Group != nil && s.Group.ID == g.ID }) {
			missing = append(missing, name)
		}
	}
	return missing
}

// LastWhole is the newest state of a manifest whose set is complete in the store; nil where
// none is. It looks at the other members without their locks. One that is there and cannot
// be read counts as complete: what goes by this is what may be deleted.
func LastWhole(storeDir string, m *Manifest) *State {
	known := map[string]map[string]bool{} // sets by member; a nil map has all
	holds := func(member, set string) bool {
		sets, asked := known[member]
		if !asked {
			sets = setsOf(storeDir, member)
			known[member] = sets
		}
		return sets == nil || sets[set]
	}
	for i := len(m.States) - 1; i >= 0; i-- {
		g := m.States[i].Group
		if g != nil && !slices.ContainsFunc(g.Members, func(member string) bool { return member != m.TargetDomain && !holds(member, g.ID) }) {
			return &m.States[i]
		}
	}
	return nil
}

// setsOf are the ids of the sets of which a replica holds a state; nil if it cannot be read.
func setsOf(storeDir, member string) map[string]bool {
	sets := map[string]bool{}
	m, err := Read(storeDir, member)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sets
	case err != nil:
		return nil
	}
	for i := range m.States {
		if g := m.States[i].Group; g != nil {
			sets[g.ID] = true
		}
	}
	return sets
}
