package fusefs

import (
	"time"

	"vmsync/fusefs/filesystem"
)

// statesDir holds the states by their ids.
type statesDir struct{ *replica }

func (d *statesDir) key() string                    { return d.domain + "/" + statesName }
func (d *statesDir) valid() time.Duration           { return briefly }
func (d *statesDir) attr() (filesystem.Attr, error) { return d.folder() }

func (d *statesDir) list() ([]filesystem.Entry, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	entries := make([]filesystem.Entry, len(v.States))
	for i := range v.States {
		entries[i] = folderEntry(v.States[i].ID)
	}
	return entries, nil
}

func (d *statesDir) lookup(name string) (any, error) {
	s, _, err := d.state(name)
	if err != nil {
		return nil, err
	}
	return newStateDir(d.replica, s), nil
}
