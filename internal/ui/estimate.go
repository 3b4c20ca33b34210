package ui

import (
	"fmt"

	"vmsync/internal/event"
)

func estimateText(e event.Estimate) []string {
	lines := []string{fmt.Sprintf("%s: %s, %s to send before compression", clean(e.Domain), clean(e.Kind), amountText(e.Bytes, e.AtMost))}
	for _, d := range e.Disks {
		line := fmt.Sprintf("  disk %s: %s, %s of %s", clean(d.Disk), clean(d.Kind), amountText(d.Bytes, d.AtMost), bytesText(d.Size))
		if d.Reason != "" {
			line += " (" + clean(d.Reason) + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

func amountText(bytes int64, atMost bool) string {
	if atMost {
		return "at most " + bytesText(bytes)
	}
	return bytesText(bytes)
}

type jsonEstimate struct {
	head
	Domain string             `json:"domain"`
	Kind   string             `json:"kind"`
	Bytes  int64              `json:"bytes"`
	AtMost bool               `json:"at_most"`
	Disks  []jsonDiskEstimate `json:"disks"`
}

type jsonDiskEstimate struct {
	Disk   string `json:"disk"`
	Kind   string `json:"kind"`
	Size   int64  `json:"size_bytes"`
	Bytes  int64  `json:"bytes"`
	AtMost bool   `json:"at_most"`
	Reason string `json:"reason,omitempty"`
}

func estimateJSON(e event.Estimate, h head) jsonEstimate {
	j := jsonEstimate{head: h, Domain: e.Domain, Kind: e.Kind, Bytes: e.Bytes, AtMost: e.AtMost, Disks: []jsonDiskEstimate{}}
	for _, d := range e.Disks {
		j.Disks = append(j.Disks, jsonDiskEstimate(d))
	}
	return j
}
