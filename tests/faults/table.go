package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is how a round went.
type result struct {
	round       int
	fault, step string
	tries       int  // syncs that were needed afterwards
	gained      bool // the sync that the fault was in made a state
	restarted   bool // the machine's owner had to restart it, for libvirt held it
	took        time.Duration
	recovery    time.Duration // from when the world was as before until a sync had succeeded
}

// outcome says in a few words what became of the sync and its replica.
func (r result) outcome() string {
	switch {
	case r.restarted:
		return fmt.Sprintf("run %d after it, the machine having been restarted", r.tries)
	case r.tries == 0:
		return "went on"
	case r.tries == 1 && r.gained:
		return "state kept, next run completed it"
	case r.tries == 1:
		return "next run"
	}
	return fmt.Sprintf("run %d after it", r.tries)
}

// row sums up the rounds of one fault at one step.
type row struct {
	fault, step                      string
	rounds, wentOn, kept, next, more int
	slowest                          time.Duration
}

// rows sums up results, sorted.
func rows(results []result) []row {
	var sum []row
	for _, r := range results {
		i := slices.IndexFunc(sum, func(x row) bool { return x.fault == r.fault && x.step == r.step })
		if i < 0 {
			i, sum = len(sum), append(sum, row{fault: r.fault, step: r.step})
		}
		x := &sum[i]
		x.rounds++
		switch {
		case r.tries == 0:
			x.wentOn++
		case r.tries > 1:
			x.more++
		case r.gained:
			x.kept++
		default:
			x.next++
		}
		x.slowest = max(x.slowest, r.recovery)
	}
	slices.SortFunc(sum, func(a, b row) int {
		return strings.Compare(a.fault+"\x00"+a.step, b.fault+"\x00"+b.step)
	})
	return sum
}

var columns = []string{"fault", "step", "rounds", "went on", "state kept, completed by the next run", "made good by the next run", "by a later run", "slowest"}

func (x row) cells() []string {
	n := func(i int) string {
		if i == 0 {
			return ""
		}
		return fmt.Sprint(i)
	}
	return []string{x.fault, x.step, n(x.rounds), n(x.wentOn), n(x.kept), n(x.next), n(x.more), fmt.Sprintf("%.1f s", x.slowest.Seconds())}
}

// printTable prints the table for a terminal.
func printTable(to io.Writer, results []result) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"fault", "step", "rounds", "went on", "state kept", "next run", "later run", "slowest"}, "\t"))
	for _, x := range rows(results) {
		fmt.Fprintln(w, strings.Join(x.cells(), "\t"))
	}
	return w.Flush()
}

// markdown gives the table as Markdown.
func markdown(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, x := range rows(results) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(x.cells(), " | "))
	}
	return b.String()
}
