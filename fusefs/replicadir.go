package fusefs

import (
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

// replicaDir is a replica: its states, and names for some of them.
type replicaDir struct{ *replica }

func (d *replicaDir) key() string          { return d.domain }
func (d *replicaDir) valid() time.Duration { return briefly }

func (d *replicaDir) attr() (filesystem.Attr, error) { return d.folder() }

// folder gives the attributes of a folder that changes when the manifest does.
func (r *replica) folder() (filesystem.Attr, error) {
	v, err := r.view()
	if err != nil {
		return filesystem.Attr{}, err
	}
	return place{mtime: v.stamp.mtime}.attributes(unix.S_IFDIR, 0), nil
}

// Names in a replica's folder.
const (
	latestName       = "latest"
	statesName       = "states"
	byCheckpointName = "by-checkpoint"
	byAgeName        = "by-age"
)

func (d *replicaDir) list() ([]filesystem.Entry, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	entries := []filesystem.Entry{folderEntry(byAgeName), folderEntry(byCheckpointName)}
	if v.Head() != nil {
		entries = append(entries, linkEntry(latestName))
	}
	return append(entries, folderEntry(statesName)), nil
}

func (d *replicaDir) lookup(name string) (any, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	switch head := v.Head(); {
	case name == latestName && head != nil:
		return d.link(latestName, statesName+"/", head), nil
	case name == statesName:
		return &statesDir{d.replica}, nil
	case name == byCheckpointName:
		return &byCheckpointDir{d.replica}, nil
	case name == byAgeName:
		return &byAgeDir{d.replica}, nil
	}
	return nil, filesystem.ErrNotExist
}

// link is a symbolic link to a state.
func (r *replica) link(path, prefix string, s *store.State) node {
	return &linkNode{place{path: r.domain + "/" + path, mtime: s.Time}, prefix + s.ID}
}
