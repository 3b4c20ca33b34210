package status

import (
	"io"
	"slices"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/ui"
)

// Look is what a terminal can show.
type Look struct {
	Width   int // columns; 0 is as many as it takes
	Colours bool
}

// The columns of the table. vmsync status --help says which go first.
var columns = []ui.GridColumn{
	{Title: "machine"}, {Title: "source", Drop: 10}, {Title: "group", Drop: 8}, {Title: "role", Drop: 7}, {Title: "age / rpo", Short: "age/rpo", Right: true},
	{Title: "last run", Drop: 1}, {Title: "changed", Right: true, Drop: 2}, {Title: "sent", Right: true, Drop: 5}, {Title: "rate", Right: true, Drop: 6},
	{Title: "states", Right: true, Drop: 4}, {Title: "size", Right: true, Drop: 3}, {Title: "health"}, {Title: "now", Drop: 9}, {Drop: 11, Least: 16},
}

// groupColumn is shown where there are consistency groups.
const groupColumn = 2

// Table writes how machines stand at a moment.
func Table(w io.Writer, machines []api.Machine, now time.Time, look Look) error {
	if len(machines) == 0 {
		_, err := io.WriteString(w, "no machines are replicated\n")
		return err
	}
	var rows [][]ui.Cell
	for i := range machines {
		rows = append(rows, row(&machines[i], now))
	}
	shown := columns
	if !slices.ContainsFunc(machines, func(m api.Machine) bool { return m.Group != "" }) {
		shown = slices.Delete(slices.Clone(columns), groupColumn, groupColumn+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], groupColumn, groupColumn+1)
		}
	}
	return Write(w, ui.Grid(look.Width, shown, rows), look)
}

// Write writes lines.
func Write(w io.Writer, lines []ui.Line, look Look) error {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Paint(look.Colours) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func row(m *api.Machine, now time.Time) []ui.Cell {
	words := func(s string) ui.Cell { return ui.Cell{Text: ui.Words(s)} }
	changed, sent := Amounts(m)
	last := Last(m, now)
	if m.Running != nil { // shortened, there is hardly a column that says so
		last.Short = ui.Text(ui.Accent, strings.TrimSpace("syncing "+percent(m.Running)))
	}
	return []ui.Cell{words(m.Name), words(m.Source), words(Dash(m.Group)), words(Dash(m.Role)), Age(m), last, Bytes(changed), Bytes(sent), rate(m), Number(m.States),
		Bytes(m.Size), {Text: ui.Text(HealthStyle(m.Health), string(m.Health))}, words(string(m.Doing)), words(Remark(m, now))}
}
