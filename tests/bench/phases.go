package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// phaseDone is how the service's log tells of a phase.
var phaseDone = regexp.MustCompile(`^(\w+) done took=(\S+)`)

// phases tells, for people, how long each phase of the service's runs took, from its log:
// the middle one and the longest.
func phases(log string) string {
	var order []string
	took := map[string][]time.Duration{}
	for line := range strings.Lines(log) {
		m := phaseDone.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		d, err := time.ParseDuration(m[2])
		if err != nil {
			continue
		}
		if took[m[1]] == nil {
			order = append(order, m[1])
		}
		took[m[1]] = append(took[m[1]], d)
	}
	var parts []string
	for _, p := range order {
		parts = append(parts, fmt.Sprintf("%s %.2f s (longest %.2f s)", p, middle(took[p]).Seconds(), longest(took[p]).Seconds()))
	}
	return strings.Join(parts, ", ")
}
