package fusefs

import (
	"time"

	"vmsync/fusefs/filesystem"
)

// byCheckpointDir names the states by their checkpoints.
type byCheckpointDir struct{ *replica }

func (d *byCheckpointDir) key() string                    { return d.domain + "/" + byCheckpointName }
func (d *byCheckpointDir) valid() time.Duration           { return briefly }
func (d *byCheckpointDir) attr() (filesystem.Attr, error) { return d.folder() }

func (d *byCheckpointDir) list() ([]filesystem.Entry, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	entries := make([]filesystem.Entry, len(v.States))
	for i := range v.States {
		entries[i] = linkEntry(v.States[i].Checkpoint)
	}
	return entries, nil
}

func (d *byCheckpointDir) lookup(name string) (any, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	for i := range v.States {
		if s := &v.States[i]; s.Checkpoint == name {
			return d.link(byCheckpointName+"/"+name, "../"+statesName+"/", s), nil
		}
	}
	return nil, filesystem.ErrNotExist
}
