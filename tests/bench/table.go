package main

import (
	"fmt"
	"io"
)

// row is one line of the table.
type row struct {
	what      string
	ours      string // what vmsync took
	reference string // what the other tool took; may be empty
	figure    string // the number that the goal is about
	goal      string
	verdict   string
}

// atMost judges a figure that has to be small; format shows figure and goal.
func (r row) atMost(format string, figure, goal float64) row {
	return r.judge(format, "≤", figure, goal, figure <= goal)
}

// atLeast judges a figure that has to be large.
func (r row) atLeast(format string, figure, goal float64) row {
	return r.judge(format, "≥", figure, goal, figure >= goal)
}

func (r row) judge(format, sign string, figure, goal float64, met bool) row {
	r.figure = fmt.Sprintf(format, figure)
	r.goal = sign + " " + fmt.Sprintf(format, goal)
	r.verdict = "met"
	if !met {
		r.verdict = "**missed**"
	}
	return r
}

func printTable(w io.Writer, rows []row) {
	fmt.Fprintf(w, "| case | vmsync | reference | figure | goal | verdict |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.reference, r.figure, r.goal, r.verdict)
	}
}
