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

type jsonExported struct {
	head
	Domain   string             `json:"domain"`
	State    string             `json:"state"`
	Writable bool               `json:"writable"`
	Kept     string             `json:"kept,omitempty"`
	Disks    []jsonExportedDisk `json:"disks"`
}

type jsonExportedDisk struct {
	Disk string `json:"disk"`
	URI  string `json:"uri"`
	Size int64  `json:"size_bytes"`
}

type jsonKept struct {
	head
	Domain string         `json:"domain"`
	State  string         `json:"state"`
	Disks  []jsonKeptDisk `json:"disks"`
}

type jsonKeptDisk struct {
	Disk string `json:"disk"`
	Path string `json:"path"`
	Size int64  `json:"size_bytes"`
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
	case event.Skipped:
		return skippedJSON(e, h("skipped"))
	case event.Estimate:
		return estimateJSON(e, h("estimate"))
	case event.Exported:
		x := jsonExported{head: h("exported"), Domain: e.Domain, State: e.State, Writable: e.Writable, Kept: e.Kept, Disks: []jsonExportedDisk{}}
		for _, d := range e.Disks {
			x.Disks = append(x.Disks, jsonExportedDisk(d))
		}
		return x
	case event.Kept:
		k := jsonKept{head: h("kept"), Domain: e.Domain, State: e.State, Disks: []jsonKeptDisk{}}
		for _, d := range e.Disks {
			k.Disks = append(k.Disks, jsonKeptDisk(d))
		}
		return k
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
	case event.Run:
		return []string{"run " + clean(e.ID)}
	case event.Skipped:
		return []string{skippedText(e)}
	case event.Estimate:
		return estimateText(e)
	case event.Exported:
		return exportedText(e)
	case event.Kept:
		lines := []string{fmt.Sprintf("%s: what was written over state %s is kept", clean(e.Domain), clean(e.State))}
		for _, d := range e.Disks {
			lines = append(lines, fmt.Sprintf("  disk %s: %s (qcow2, %s)", clean(d.Disk), clean(d.Path), bytesText(d.Size)))
		}
		return lines
	}
	return nil
}

func exportedText(e event.Exported) []string {
	how := "read-only"
	switch {
	case e.Writable && e.Kept != "":
		how = "writable; what is written is kept at the end: " + clean(e.Kept)
	case e.Writable:
		how = "writable; what is written is thrown away at the end"
	}
	lines := []string{fmt.Sprintf("%s: state %s is exported, %s", clean(e.Domain), clean(e.State), how)}
	for _, d := range e.Disks {
		lines = append(lines, "  "+clean(d.URI))
	}
	return lines
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
