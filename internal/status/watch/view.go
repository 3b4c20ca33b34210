package watch

import (
	"fmt"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/schedule"
	"vmsync/internal/status"
	"vmsync/internal/ui"
)

// View is the screen's lines, as many as it has rows.
func (m Model) View() []ui.Line {
	if m.width <= 0 || m.height <= 0 {
		return nil
	}
	var lines []ui.Line
	switch {
	case m.help:
		lines = append([]ui.Line{m.summary()}, helpLines...)
	case m.status == nil:
		lines = []ui.Line{m.summary()}
	default:
		lines = m.screen()
	}
	return m.frame(lines)
}

// frame makes the lines those of the screen: the keys last.
func (m Model) frame(lines []ui.Line) []ui.Line {
	all := make([]ui.Line, m.height)
	copy(all[:m.height-1], lines)
	all[m.height-1] = m.keys()
	for i := range all {
		all[i] = all[i].Cut(m.width)
	}
	return all
}

func (m Model) screen() []ui.Line {
	l := m.layout()
	lines := []ui.Line{m.summary()}
	lines = append(lines, exactly(l.syncing, m.syncingLines(l.syncing))...)
	lines = append(lines, exactly(l.table+1, m.tableLines(l.table))...)
	lines = append(lines, exactly(l.details, m.detailLines(l.details))...)
	return append(lines, exactly(l.events, m.eventLines(l.events))...)
}

// exactly makes lines so many.
func exactly(n int, lines []ui.Line) []ui.Line {
	all := make([]ui.Line, n)
	copy(all, lines)
	return all
}

// join makes one line of several.
func join(parts ...ui.Line) (all ui.Line) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// summary is the first line: how many machines stand how.
func (m Model) summary() ui.Line {
	if m.trouble != "" {
		return ui.Text(ui.Bad, "no answer for "+ui.ShortDuration(m.now.Sub(m.since))+": "+status.OneLine(m.trouble))
	}
	if m.status == nil {
		return ui.Words("connecting to the service")
	}
	count := map[api.Health]int{}
	shown := 0
	for i := range m.status.Machines {
		if one := &m.status.Machines[i]; matches(m.only, one.Source, one.Name) {
			count[one.Health]++
			shown++
		}
	}
	line := ui.Text(ui.Strong, ui.Count(shown, "machine"))
	between := ": "
	for _, h := range []api.Health{schedule.Broken, schedule.AtRisk, schedule.Healthy, api.Paused} {
		if count[h] > 0 {
			line = join(line, ui.Words(between), ui.Text(status.HealthStyle(h), fmt.Sprintf("%d %s", count[h], h)))
			between = ", "
		}
	}
	line = join(line, ui.Words(fmt.Sprintf("; %d syncing", len(m.syncing()))))
	for _, s := range m.status.Sources {
		if s.Error != "" {
			line = join(line, ui.Words("; "), ui.Text(ui.Bad, s.Name+" is away"))
		}
	}
	for _, tight := range status.Tight(m.status.Stores) {
		line = join(line, ui.Words("; "), tight)
	}
	if m.status.Stopping {
		line = join(line, ui.Text(ui.Warn, "; the service ends"))
	}
	return line
}

// heading is a line that begins a part of the screen.
func (m Model) heading(text string) ui.Line {
	line := ui.Text(ui.Faint, "── "+text+" ")
	rule := make([]rune, max(0, m.width-line.Width()))
	for i := range rule {
		rule[i] = '─'
	}
	return join(line, ui.Text(ui.Faint, string(rule)))
}

// syncingLines are the runs that are under way.
func (m Model) syncingLines(rows int) []ui.Line {
	if rows == 0 {
		return nil
	}
	all := m.syncing()
	lines := []ui.Line{m.heading("syncing")}
	var cells [][]ui.Cell
	for _, one := range all {
		cells = append(cells, m.progress(one))
	}
	grid := ui.Grid(m.width, []ui.GridColumn{{}, {Drop: 1}, {}, {Right: true}, {Drop: 4}, {Right: true, Drop: 3}, {Right: true, Drop: 2}}, cells)[1:]
	if hidden := len(grid) - (rows - 1); hidden > 0 {
		grid = append(grid[:max(0, rows-2)], ui.Text(ui.Faint, fmt.Sprintf("  and %d more", hidden+1)))
	}
	return append(lines, grid...)
}

// progress is how far a run is: machine, phase, bar, percentage, amounts, rate, time to go.
func (m Model) progress(one *api.Machine) []ui.Cell {
	r := one.Running
	cell := func(s string) ui.Cell { return ui.Cell{Text: ui.Words(s)} }
	cells := []ui.Cell{{Text: ui.Text(ui.Strong, one.Name)}, cell(r.Phase)}
	if r.Total <= 0 {
		return append(cells, cell(ui.ShortDuration(m.now.Sub(r.Began))))
	}
	columns := 12
	if m.width >= 70 {
		columns = min(40, m.width-58)
	}
	cells = append(cells, ui.Cell{Text: ui.Bar(columns, r.Done, r.Total), Short: ui.Bar(10, r.Done, r.Total)}, cell(fmt.Sprintf("%d%%", ui.Percent(r.Done, r.Total))),
		cell(ui.ShortBytes(r.Done)+" of "+ui.ShortBytes(r.Total)))
	if r.PerSecond < 1 {
		return cells
	}
	cells = append(cells, cell(ui.ShortBytes(int64(r.PerSecond))+"/s"))
	if left := float64(r.Total-r.Done) / r.PerSecond; left < 99*3600 {
		cells = append(cells, cell(ui.Clock(status.Seconds(left))))
	}
	return cells
}

// The columns of the table, and which go first where there is no room.
var columns = []ui.GridColumn{
	{Title: "  machine"}, {Title: "source", Drop: 7}, {Title: "health"}, {Title: "age / rpo", Short: "age/rpo", Right: true}, {Title: "rpo history", Drop: 2},
	{Title: "last run", Drop: 3}, {Title: "changed", Right: true, Drop: 6}, {Title: "sent", Right: true, Drop: 8}, {Title: "states", Right: true, Drop: 10}, {Title: "size", Right: true, Drop: 5},
	{Title: "role", Drop: 9}, {Title: "now", Drop: 1, Least: 14},
}

// How wide sparklines are.
const wideSpark, narrowSpark = 24, 12

func (m Model) tableLines(rows int) []ui.Line {
	all := m.machines()
	var cells [][]ui.Cell
	at := m.chosen(all)
	for i, one := range all {
		cells = append(cells, m.row(one, i == at))
	}
	grid := ui.Grid(m.width, columns, cells)
	if len(all) == 0 {
		what := "no machines are replicated"
		if m.filter != "" {
			what = "no machine has " + m.filter + " in its name"
		}
		return []ui.Line{ui.Words("  " + what)}
	}
	last := min(len(all), m.top+rows)
	return append(grid[:1:1], grid[1+min(m.top, last):1+last]...)
}

func (m Model) row(one *api.Machine, chosen bool) []ui.Cell {
	words := func(s string) ui.Cell { return ui.Cell{Text: ui.Words(s)} }
	name := ui.Words("  " + one.Name)
	if chosen {
		name = ui.Text(ui.Strong, "> "+one.Name)
	}
	sparks := ages(m.runs[key(one)], status.Seconds(one.RPO))
	if one.Age != nil && one.RPO > 0 {
		sparks = append(sparks, ui.Spark{Part: part(one)})
	}
	changed, sent := status.Amounts(one)
	return []ui.Cell{{Text: name}, words(one.Source), {Text: ui.Text(status.HealthStyle(one.Health), string(one.Health))}, status.Age(one),
		{Text: ui.Sparkline(sparks, wideSpark), Short: ui.Sparkline(sparks, narrowSpark)}, status.Last(one, m.now), status.Bytes(changed), status.Bytes(sent),
		status.Number(one.States), status.Bytes(one.Size), words(status.Dash(one.Role)), words(m.doing(one))}
}

// doing says what the service does with a machine, and when it goes on. A time of day stands
// still, which a time to go does not.
func (m Model) doing(one *api.Machine) string {
	switch {
	case one.Running != nil:
		return status.Remark(one, m.now)
	case one.Doing == api.Idle && !one.Next.IsZero():
		return "next " + m.moment(one.Next)
	case one.Doing == api.Retrying && !one.Next.IsZero():
		return "again " + m.moment(one.Next)
	case one.Doing == api.Held:
		return one.Source + " is away"
	}
	return string(one.Doing)
}

// moment is a time near now.
func (m Model) moment(t time.Time) string {
	t = t.In(m.now.Location())
	switch days := t.Sub(m.now).Abs(); {
	case days < 12*time.Hour, days < 24*time.Hour && t.Day() == m.now.Day():
		return t.Format("15:04:05")
	case days < 6*24*time.Hour:
		return t.Format("Mon 15:04")
	}
	return t.Format(time.DateOnly)
}

// keys is the last line.
func (m Model) keys() ui.Line {
	if m.typing {
		return join(ui.Text(ui.Strong, "/"+m.filter), ui.Text(ui.Faint, "▏ enter keeps it, esc clears it"))
	}
	line := ui.Text(ui.Faint, "q quit  ? help  / filter  enter details  s sort: "+m.order.String())
	if m.filter != "" {
		line = join(line, ui.Text(ui.Accent, "  only: "+m.filter+" (esc)"))
	}
	return line
}
