package status

import (
	"io"
	"time"

	"vmsync/internal/history"
	"vmsync/internal/ui"
)

var runColumns = []ui.GridColumn{
	{Title: "run", Drop: 6}, {Title: "began"}, {Title: "outcome"}, {Title: "trigger", Drop: 4}, {Title: "kind", Drop: 2}, {Title: "took", Right: true},
	{Title: "changed", Right: true, Drop: 1}, {Title: "sent", Right: true, Drop: 3}, {Title: "state", Drop: 5, Least: 20},
}

// RunRows lays runs out as a table in a width, 0 being as wide as it gets. The moments when
// they began are written as when says.
func RunRows(width int, runs []history.Run, now time.Time, when func(time.Time) string) []ui.Line {
	words := func(s string) ui.Cell { return ui.Cell{Text: ui.Words(s)} }
	var rows [][]ui.Cell
	for i := range runs {
		r := &runs[i]
		style := ui.Plain
		switch r.Outcome {
		case history.Failed, history.Killed, history.Aborted:
			style = ui.Bad
		case history.Running:
			style = ui.Accent
		}
		changed, sent := amounts(r)
		what := r.State
		if r.Error != nil {
			what = OneLine(r.Error.Message)
		}
		rows = append(rows, []ui.Cell{words(r.ID), words(when(r.Began)), {Text: ui.Text(style, string(r.Outcome))}, words(r.Trigger), words(Dash(r.Kind)),
			words(ui.Duration(r.Duration(now))), Bytes(changed), Bytes(sent), words(what)})
	}
	return ui.Grid(width, runColumns, rows)
}

// Runs writes runs as a table.
func Runs(w io.Writer, runs []history.Run, now time.Time, look Look) error {
	lines := RunRows(look.Width, runs, now, func(t time.Time) string { return t.UTC().Format(time.DateTime + "Z") })
	return Write(w, lines, look)
}
