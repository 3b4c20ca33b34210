package ui

import "vmsync/internal/event"

func skippedText(e event.Skipped) string {
	s := clean(e.Domain) + ": nothing to do, "
	if e.ChangedBytes == 0 {
		s += "nothing changed"
	} else {
		s += bytesText(e.ChangedBytes) + " changed, less than " + bytesText(e.MinChanged)
	}
	return s + " (" + durationText(e.Duration) + ")"
}

type jsonSkipped struct {
	head
	Run      string  `json:"run,omitempty"`
	Domain   string  `json:"domain"`
	Changed  int64   `json:"changed_bytes"`
	Minimum  int64   `json:"min_changed_bytes,omitempty"`
	Duration float64 `json:"duration_seconds"`
}

func skippedJSON(e event.Skipped, h head) jsonSkipped {
	return jsonSkipped{h, e.Run, e.Domain, e.ChangedBytes, e.MinChanged, e.Duration.Seconds()}
}
