package ui

import (
	"fmt"

	"vmsync/internal/event"
)

// Events about stored states.

type jsonStateVerified struct {
	head
	Domain   string `json:"domain"`
	State    string `json:"state"`
	Verified bool   `json:"verified"`
	Damaged  string `json:"damaged,omitempty"`
	Unknown  string `json:"unknown,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

type jsonVerified struct {
	head
	Domain   string  `json:"domain"`
	States   int     `json:"states"`
	Damaged  int     `json:"damaged_states"`
	Unknown  int     `json:"unknown_states"`
	Images   int     `json:"images"`
	Read     int64   `json:"read_bytes"`
	Duration float64 `json:"duration_seconds"`
}

type jsonRestored struct {
	head
	Domain   string             `json:"domain"`
	State    string             `json:"state"`
	Disks    []jsonRestoredDisk `json:"disks"`
	Files    []string           `json:"files"`
	Defined  string             `json:"defined,omitempty"`
	Duration float64            `json:"duration_seconds"`
}

type jsonRestoredDisk struct {
	Disk   string `json:"disk"`
	Path   string `json:"path"`
	Format string `json:"format"`
	Size   int64  `json:"size_bytes"`
}

type jsonCompared struct {
	head
	Domain    string `json:"domain"`
	State     string `json:"state"`
	Disk      string `json:"disk"`
	Read      int64  `json:"read_bytes"`
	Equal     int64  `json:"equal_bytes"`
	Changed   int64  `json:"changed_bytes"`
	Different int64  `json:"different_bytes"`
	First     *int64 `json:"first_offset,omitempty"`
}

// stateJSON is toJSON for events about stored states.
func stateJSON(e event.Event, h func(string) head) any {
	switch e := e.(type) {
	case event.StateVerified:
		return jsonStateVerified{h("state_verified"), e.Domain, e.State, e.Damaged == "" && e.Unknown == "", e.Damaged, e.Unknown, e.Hint}
	case event.Verified:
		return jsonVerified{h("verified"), e.Domain, e.States, e.Damaged, e.Unknown, e.Images, e.Read, e.Duration.Seconds()}
	case event.Restored:
		r := jsonRestored{head: h("restored"), Domain: e.Domain, State: e.State, Disks: []jsonRestoredDisk{}, Files: append([]string{}, e.Files...),
			Defined: e.Defined, Duration: e.Duration.Seconds()}
		for _, d := range e.Disks {
			r.Disks = append(r.Disks, jsonRestoredDisk(d))
		}
		return r
	case event.Compared:
		c := jsonCompared{head: h("compared"), Domain: e.Domain, State: e.State, Disk: e.Disk, Read: e.Read, Equal: e.Equal, Changed: e.Changed, Different: e.Different}
		if e.Different > 0 {
			c.First = &e.First
		}
		return c
	}
	return nil
}

// stateText is what people are told of an event about stored states, in lines.
func stateText(e event.Event) []string {
	switch e := e.(type) {
	case event.StateVerified:
		return []string{verifiedText(e)}
	case event.Verified:
		return []string{fmt.Sprintf("%s: %d of %s verified as received", clean(e.Domain), e.States-e.Damaged-e.Unknown, count(e.States, "state")),
			fmt.Sprintf("  %s of %s read in %s", bytesText(e.Read), count(e.Images, "image"), durationText(e.Duration))}
	case event.Restored:
		return restoredText(e)
	case event.Compared:
		return []string{comparedText(e)}
	}
	return nil
}

func verifiedText(e event.StateVerified) string {
	s := "state " + clean(e.State) + ": "
	switch {
	case e.Damaged != "":
		s += "DAMAGED: " + clean(e.Damaged)
	case e.Unknown != "":
		s += "not verified: " + clean(e.Unknown)
	default:
		s += "verified"
	}
	if e.Hint != "" {
		s += "; " + clean(e.Hint)
	}
	return s
}

func restoredText(e event.Restored) []string {
	lines := []string{fmt.Sprintf("%s: state %s restored and verified in %s", clean(e.Domain), clean(e.State), durationText(e.Duration))}
	for _, d := range e.Disks {
		lines = append(lines, fmt.Sprintf("  disk %s: %s (%s, %s)", clean(d.Disk), clean(d.Path), clean(d.Format), bytesText(d.Size)))
	}
	for _, f := range e.Files {
		lines = append(lines, "  "+clean(f))
	}
	if e.Defined != "" {
		lines = append(lines, "  domain "+clean(e.Defined)+" defined, shut off")
	}
	return lines
}

func comparedText(e event.Compared) string {
	s := fmt.Sprintf("disk %s of state %s: %s the same as on the source", clean(e.Disk), clean(e.State), bytesText(e.Equal))
	if e.Changed > 0 {
		s += fmt.Sprintf(", %s changed there since", bytesText(e.Changed))
	}
	if e.Different > 0 {
		s += fmt.Sprintf(", %s DIFFERENT, the first at offset %d", bytesText(e.Different), e.First)
	}
	return s
}

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
