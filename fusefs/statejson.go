package fusefs

import (
	"encoding/json"
	"time"

	"vmsync/internal/store"
)

// stateVersion is the version of state.json. Fields may be added to a version; none
// changes its meaning.
const stateVersion = 1

// stateJSON is state.json: what `vmsync states --json` prints of a state, but for what
// changes without the state, and more. docs/FUSE.md describes it.
type stateJSON struct {
	Version       int          `json:"version"`
	Domain        string       `json:"domain"`
	State         string       `json:"state"`
	Generation    int64        `json:"generation"`
	Checkpoint    string       `json:"checkpoint"`
	Parent        string       `json:"parent,omitempty"`
	Time          time.Time    `json:"time"`
	Kind          string       `json:"kind"`
	Consistency   string       `json:"consistency"`
	FrozenSeconds float64      `json:"frozen_seconds"`
	Group         *store.Group `json:"group,omitempty"`
	Size          int64        `json:"size_bytes"`
	Head          bool         `json:"head"`
	Verified      *time.Time   `json:"verified,omitempty"`
	Damaged       string       `json:"damaged,omitempty"`
	SourceHost    string       `json:"source_host,omitempty"`
	SourceDomain  string       `json:"source_domain,omitempty"`
	Disks         []stateDisk  `json:"disks"`
	LeftOut       []string     `json:"left_out,omitempty"`
}

type stateDisk struct {
	Disk    string `json:"disk"`
	Size    int64  `json:"size_bytes"`
	Content string `json:"content"` // the digest of what it reads as
}

// describe makes the state.json of a state.
func (r *replica) describe(id string) ([]byte, error) {
	s, v, err := r.state(id)
	if err != nil {
		return nil, err
	}
	d := stateJSON{
		Version: stateVersion, Domain: r.domain, State: s.ID, Generation: s.Generation, Checkpoint: s.Checkpoint, Parent: s.Parent,
		Time: s.Time, Kind: s.Kind, Consistency: s.Consistency, FrozenSeconds: s.FrozenSeconds, Group: s.Group, Head: s == v.Head(),
		Verified: s.Verified, Damaged: v.Damage(s), SourceHost: v.Source.Host, SourceDomain: v.Source.Domain,
		Disks: []stateDisk{}, LeftOut: s.LeftOut,
	}
	for _, disk := range s.Disks {
		d.Size += disk.Size
		d.Disks = append(d.Disks, stateDisk{disk.Name, disk.Size, disk.Content})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
