package fusefs

import (
	"time"

	"vmsync/fusefs/filesystem"
)

// byAgeDir names the newest states that are at least so old.
type byAgeDir struct{ *replica }

// ages are the names in a by-age folder.
var ages = []struct {
	name string
	age  time.Duration
}{
	{"1h", time.Hour}, {"1d", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"28d", 28 * 24 * time.Hour},
}

func (d *byAgeDir) key() string                    { return d.domain + "/" + byAgeName }
func (d *byAgeDir) valid() time.Duration           { return briefly }
func (d *byAgeDir) attr() (filesystem.Attr, error) { return d.folder() }

func (d *byAgeDir) list() ([]filesystem.Entry, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	var entries []filesystem.Entry
	for _, a := range ages {
		if v.aged(a.age, time.Now()) != nil {
			entries = append(entries, linkEntry(a.name))
		}
	}
	return entries, nil
}

func (d *byAgeDir) lookup(name string) (any, error) {
	v, err := d.view()
	if err != nil {
		return nil, err
	}
	for _, a := range ages {
		if a.name != name {
			continue
		}
		if s := v.aged(a.age, time.Now()); s != nil {
			return d.link(byAgeName+"/"+name, "../"+statesName+"/", s), nil
		}
	}
	return nil, filesystem.ErrNotExist
}
