package schedule

import (
	"cmp"
	"slices"
	"time"
)

// Limits bound how many syncs run at once; each is 1 or more.
type Limits struct {
	Total     int
	PerSource int // of machines of one source
	PerHost   int // that one host takes part in, as the source or as the target
}

// Job is a sync that is due, or runs. A consistency group is one job.
type Job struct {
	Key     string
	Sources map[string]int // how many machines are synced of each source, by its name
	Hosts   []string       // all that take part, each once
	Slack   time.Duration  // see Rule.Slack; of a group the least of its members'
	Since   time.Time      // since when it is due
	Members int            // how many machines are synced; 1 or more
}

// Pick returns the indexes of those jobs in due that are to begin now, the most urgent
// first: those with the least slack, and among equals those that have waited longest. A
// job that a limit holds back does not hold back others that the same limit leaves alone. A
// group with more members than a limit allows runs alone rather than never, and none that
// is less urgent begins before it what it waits to end.
func Pick(due, running []Job, limits Limits) []int {
	l := load{source: map[string]int{}, host: map[string]int{}}
	for i := range running {
		l.add(&running[i])
	}
	order := make([]int, len(due))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(due[a].Slack, due[b].Slack), due[a].Since.Compare(due[b].Since), cmp.Compare(due[a].Key, due[b].Key))
	})
	var picked []int
	for _, i := range order {
		if l.holdBack(&due[i], limits) {
			continue
		}
		l.add(&due[i])
		picked = append(picked, i)
	}
	return picked
}

// load is how many syncs there are.
type load struct {
	total        int
	source, host map[string]int
}

func (l *load) add(j *Job) {
	l.total += j.Members
	for source, n := range j.Sources {
		l.source[source] += n
	}
	for _, h := range j.Hosts {
		l.host[h] += j.Members
	}
}

// holdBack tells whether a limit keeps a job from beginning, and fills what is left of
// that limit.
func (l *load) holdBack(j *Job, limits Limits) (held bool) {
	over := func(now, more, limit int) bool { return now > 0 && now+more > limit }
	if over(l.total, j.Members, limits.Total) {
		l.total, held = max(l.total, limits.Total), true
	}
	for source, n := range j.Sources {
		if over(l.source[source], n, limits.PerSource) {
			l.source[source], held = max(l.source[source], limits.PerSource), true
		}
	}
	for _, h := range j.Hosts {
		if over(l.host[h], j.Members, limits.PerHost) {
			l.host[h], held = max(l.host[h], limits.PerHost), true
		}
	}
	return held
}
