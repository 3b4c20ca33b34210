package watch

import (
	"slices"
	"time"

	"vmsync/internal/history"
	"vmsync/internal/ui"
)

// ages are how old a replica had become each time that a run of it ended, as parts of what
// is promised, from its runs, the newest first. Runs before the first replica have none.
func ages(runs []history.Run, rpo time.Duration) (all []ui.Spark) {
	if rpo <= 0 {
		return nil
	}
	var fresh time.Time
	for _, r := range slices.Backward(runs) {
		if r.Outcome == history.Running {
			continue
		}
		good := r.Outcome == history.Succeeded || r.Outcome == history.Unchanged
		if !fresh.IsZero() {
			all = append(all, ui.Spark{Part: float64(r.Ended.Sub(fresh)) / float64(rpo), Failed: !good})
		}
		if r.Outcome == history.Succeeded || r.Outcome == history.Unchanged && r.Changed == 0 {
			fresh = r.Began
		}
	}
	return all
}
