package schedule

import (
	"slices"
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	job := func(key, source string, slack time.Duration, hosts ...string) Job {
		return Job{Key: key, Sources: map[string]int{source: 1}, Hosts: append(hosts, "target"), Slack: slack, Since: at, Members: 1}
	}
	group := func(j Job, members int) Job {
		j.Members = members
		for source := range j.Sources {
			j.Sources[source] = members
		}
		return j
	}
	since := func(j Job, d time.Duration) Job { j.Since = at.Add(d); return j }
	wide := Limits{Total: 100, PerSource: 100, PerHost: 100}
	for name, c := range map[string]struct {
		due, running []Job
		limits       Limits
		want         []string
	}{
		"nothing": {limits: wide},
		"most urgent first": {
			due:    []Job{job("late", "a", -time.Minute, "h1"), job("soon", "a", time.Minute, "h1"), job("later", "a", -time.Hour, "h1")},
			limits: wide, want: []string{"later", "late", "soon"}},
		"equally urgent: who waited longest, then by name": {
			due:    []Job{job("c", "a", 0), since(job("b", "a", 0), -time.Second), job("a", "a", 0)},
			limits: wide, want: []string{"b", "a", "c"}},
		"in all": {
			due: []Job{job("x", "a", 2), job("y", "b", 1), job("z", "c", 3)}, running: []Job{job("r", "d", 0)},
			limits: Limits{Total: 3, PerSource: 9, PerHost: 9}, want: []string{"y", "x"}},
		"of a source, while others go on": {
			due: []Job{job("a1", "a", 1), job("a2", "a", 2), job("b1", "b", 3)}, running: []Job{job("a0", "a", 0)},
			limits: Limits{Total: 9, PerSource: 2, PerHost: 9}, want: []string{"a1", "b1"}},
		"of a host, as source or target": {
			due:     []Job{{Key: "to h1", Sources: map[string]int{"b": 1}, Hosts: []string{"h2", "h1"}, Slack: 1, Members: 1}, {Key: "to h3", Sources: map[string]int{"b": 1}, Hosts: []string{"h2", "h3"}, Slack: 2, Members: 1}},
			running: []Job{{Key: "from h1", Sources: map[string]int{"a": 1}, Hosts: []string{"h1", "h4"}, Members: 1}},
			limits:  Limits{Total: 9, PerSource: 9, PerHost: 1}, want: []string{"to h3"}},
		"a group that is too large runs alone": {
			due:    []Job{group(job("g", "a", 0), 5), job("x", "a", 1)},
			limits: Limits{Total: 3, PerSource: 3, PerHost: 3}, want: []string{"g"}},
		"a group waits for room, and nobody takes it": {
			due: []Job{group(job("g", "a", 0), 2), job("x", "b", 1)}, running: []Job{job("r", "c", 0)},
			limits: Limits{Total: 2, PerSource: 2, PerHost: 9}, want: nil},
		"a group that waits for its source leaves others": {
			due: []Job{group(job("g", "a", 0), 2), job("x", "b", 1), job("y", "a", 2)}, running: []Job{job("r", "a", 0)},
			limits: Limits{Total: 9, PerSource: 2, PerHost: 9}, want: []string{"x"}},
		"a group of several sources counts at each": {
			due:     []Job{{Key: "g", Sources: map[string]int{"a": 1, "b": 2}, Members: 3}, job("x", "b", 1), job("y", "a", 2)},
			running: []Job{job("r", "a", 0), job("s", "b", 0)},
			limits:  Limits{Total: 9, PerSource: 2, PerHost: 9}, want: []string{"y"}},
		"more run than a new limit allows": {
			due: []Job{job("x", "a", 0)}, running: []Job{job("r", "b", 0), job("s", "c", 0)},
			limits: Limits{Total: 1, PerSource: 1, PerHost: 1}},
	} {
		var got []string
		for _, i := range Pick(c.due, c.running, c.limits) {
			got = append(got, c.due[i].Key)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
