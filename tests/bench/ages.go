package main

import (
	"slices"
	"time"

	"vmsync/internal/history"
)

// ages are how old a replica was at instants between from and to, evenly spread and sorted
// by age: at each, the time since the beginning of the run that had made the replica as it
// was then. Instants before the first run ended are left out.
func ages(runs []history.Run, from, to time.Time, every time.Duration) []time.Duration {
	good := slices.DeleteFunc(slices.Clone(runs), func(r history.Run) bool {
		return r.Outcome != history.Succeeded && (r.Outcome != history.Unchanged || r.Changed > 0)
	})
	slices.SortFunc(good, func(a, b history.Run) int { return a.Ended.Compare(b.Ended) })
	var all []time.Duration
	next := 0
	for t := from; t.Before(to); t = t.Add(every) {
		for next < len(good) && !good[next].Ended.After(t) {
			next++
		}
		if next > 0 {
			all = append(all, t.Sub(good[next-1].Began))
		}
	}
	slices.Sort(all)
	return all
}

// quantile is the value that a part q of the sorted values do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
