package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/notify"
)

// toldFile is what the notifications' command appends to.
const toldFile = "/var/lib/vmsync-service/told"

// told is what the service has told, in order of time.
func (f *fleet) told() ([]notify.News, error) {
	b, err := f.target.ReadFile(toldFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []notify.News
	for dec := json.NewDecoder(bytes.NewReader(b)); dec.More(); {
		var m notify.Message
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("%s: %w", toldFile, err)
		}
		all = append(all, m.News...)
	}
	slices.SortStableFunc(all, func(a, b notify.News) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// noticed is how much later than its status the service may notice for a notification that
// a replica is too old.
const noticed = 5 * time.Second

// untold are the times in which a machine's replica was too old, by samples of one machine
// in order of time, of which nobody was told, and a last word that is not of recovery.
func untold(m *machine, samples []sample, told []notify.News) []error {
	own := slices.DeleteFunc(slices.Clone(told), func(n notify.News) bool { return n.Domain != m.name || n.Source != m.source })
	var all []error
	for _, sp := range spans(samples) {
		if sp.reported.IsZero() {
			continue
		}
		broken := false // as told
		for _, n := range own {
			switch {
			case n.Event == config.RPOBroken && !n.Time.After(sp.reported.Add(noticed)):
				broken = true
			case n.Event == config.Recovered && n.Time.Before(sp.reported):
				broken = false
			}
		}
		if !broken {
			all = append(all, fmt.Errorf("%s was older than promised, and nobody was told", m.name))
		}
	}
	if n := len(own); n > 0 && own[n-1].Event != config.Recovered {
		all = append(all, fmt.Errorf("%s has recovered, and the last that was told is %q", m.name, own[n-1].Event))
	}
	return all
}
