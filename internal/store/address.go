package store

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Latest names the head in the place of a state's id.
const Latest = "latest"

// ErrNoState means that a replica holds no state of the name asked for.
var ErrNoState = errors.New("no such state")

// ErrAmbiguous means that several states answer to a name.
var ErrAmbiguous = errors.New("ambiguous state")

// maxNamed bounds how many states an error message names.
const maxNamed = 5

var (
	wholeID         = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z(-[0-9]+)?$`)
	wholeCheckpoint = regexp.MustCompile(`^vmsync-[0-9a-f]{8}-[0-9]+$`)
)

// ParseAddress splits an address, DOMAIN or DOMAIN@STATE, at the last '@'. Without
// one the state is [Latest]; a domain whose name has an '@' needs the state said.
// The domain's name may be that of a folder ([CheckDomainName]); the state is what
// [Manifest.Find] takes, not empty.
func ParseAddress(address string) (domain, state string, err error) {
	domain, state = address, Latest
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		domain, state = address[:i], address[i+1:]
		if state == "" {
			return "", "", fmt.Errorf("address %q names no state after the @", address)
		}
	}
	if domain == "" {
		return "", "", fmt.Errorf("address %q names no domain", address)
	}
	if err := CheckDomainName(domain); err != nil {
		return "", "", err
	}
	return domain, state, nil
}

// Find returns the state of a name: [Latest] for the head, the id of a state, the
// name of its checkpoint, or what only one state's id or checkpoint begins with. It
// points into the manifest. The error is [ErrNoState] or [ErrAmbiguous]; its text
// says which states there are.
//
// A whole name means itself alone, never a longer one that begins with it:
// checkpoint 2 of a pair, once gone, is not checkpoint 20.
func (m *Manifest) Find(name string) (*State, error) {
	if name == Latest {
		if head := m.Head(); head != nil {
			return head, nil
		}
		return nil, fmt.Errorf("%w: %s holds no state yet", ErrNoState, m.TargetDomain)
	}
	for i := range m.States {
		if s := &m.States[i]; s.ID == name || s.Checkpoint == name {
			return s, nil
		}
	}
	var found []*State
	if name != "" && !wholeID.MatchString(name) && !wholeCheckpoint.MatchString(name) {
		for i := range m.States {
			if s := &m.States[i]; strings.HasPrefix(s.ID, name) || strings.HasPrefix(s.Checkpoint, name) {
				found = append(found, s)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %q can be any of %s's %s", ErrAmbiguous, name, m.TargetDomain, newest(found))
	case len(m.States) == 0:
		return nil, fmt.Errorf("%w: %s holds no state yet", ErrNoState, m.TargetDomain)
	}
	all := make([]*State, len(m.States))
	for i := range m.States {
		all[i] = &m.States[i]
	}
	return nil, fmt.Errorf("%w: %s has no %q, but %s", ErrNoState, m.TargetDomain, name, newest(all))
}

// newest names the newest of some states, newest first, and says how many more
// there are.
func newest(states []*State) string {
	var ids []string
	for i := len(states) - 1; i >= 0 && len(ids) < maxNamed; i-- {
		ids = append(ids, states[i].ID)
	}
	text := strings.Join(ids, ", ")
	if more := len(states) - len(ids); more > 0 {
		text += fmt.Sprintf(" and %d older", more)
	}
	return text
}
