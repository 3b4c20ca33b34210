package ui

import "slices"

// GridColumn is one column of a [Grid].
type GridColumn struct {
	Title string
	Short string // title where columns are shortened; Title if empty
	Right bool   // numbers: aligned at their end
	// Drop says which columns go first where there is no room: those with the highest. Those
	// with 0 stay.
	Drop int
	// Least is how wide the column must be to be of use; it takes what is left and is cut to
	// that. 0: it is as wide as what it holds.
	Least int
}

// Cell is one cell of a [Grid].
type Cell struct {
	Text  Line
	Short Line // where columns are shortened; Text if nil
}

// gap is what separates columns.
const gap = 2

// Grid lays rows out as a table, a line of titles first, in a width; 0 is as wide as it
// gets. Where that is not wide enough, columns are shortened, all at once; then dropped, one
// after the other; then the first one is cut.
func Grid(width int, columns []GridColumn, rows [][]Cell) []Line {
	g := grid{columns: columns, shown: make([]int, len(columns)), widths: make([]int, len(columns))}
	for i := range columns {
		g.shown[i] = i
	}
	g.fill(rows, false)
	if width > 0 && g.total() > width {
		g.fill(rows, true)
		for g.total() > width && g.drop() {
		}
		g.widths[0] = max(1, min(g.widths[0], g.widths[0]-(g.total()-width)))
	}
	if i := slices.IndexFunc(columns, func(c GridColumn) bool { return c.Least > 0 }); i >= 0 && slices.Contains(g.shown, i) {
		g.stretch(i, width)
	}
	return g.lines(width)
}

// grid is a table that is being laid out.
type grid struct {
	columns []GridColumn
	cells   [][]Line // the titles first
	shown   []int    // columns
	widths  []int    // of all columns
}

// fill takes the cells' long or short texts.
func (g *grid) fill(rows [][]Cell, short bool) {
	titles := make([]Line, len(g.columns))
	for i, c := range g.columns {
		titles[i] = Text(Faint, c.Title)
		if short && c.Short != "" {
			titles[i] = Text(Faint, c.Short)
		}
	}
	g.cells = [][]Line{titles}
	for _, row := range rows {
		line := make([]Line, len(g.columns))
		for i := range min(len(row), len(line)) {
			line[i] = row[i].Text
			if short && row[i].Short != nil {
				line[i] = row[i].Short
			}
		}
		g.cells = append(g.cells, line)
	}
	for i, c := range g.columns {
		g.widths[i] = 0
		for _, row := range g.cells {
			g.widths[i] = max(g.widths[i], row[i].Width())
		}
		if c.Least > 0 {
			g.widths[i] = min(g.widths[i], c.Least)
		}
	}
}

// total is how wide the table is.
func (g *grid) total() int {
	sum := gap * (len(g.shown) - 1)
	for _, i := range g.shown {
		sum += g.widths[i]
	}
	return sum
}

// drop drops a column; false if all that are left stay.
func (g *grid) drop() bool {
	worst := slices.MaxFunc(g.shown, func(a, b int) int { return g.columns[a].Drop - g.columns[b].Drop })
	if g.columns[worst].Drop == 0 {
		return false
	}
	g.shown = slices.DeleteFunc(g.shown, func(i int) bool { return i == worst })
	return true
}

// stretch gives a column what is left.
func (g *grid) stretch(i, width int) {
	want := 0
	for _, row := range g.cells {
		want = max(want, row[i].Width())
	}
	if width > 0 {
		want = min(want, g.widths[i]+max(0, width-g.total()))
	}
	g.widths[i] = want
}

func (g *grid) lines(width int) []Line {
	var all []Line
	for _, row := range g.cells {
		var line Line
		for n, i := range g.shown {
			if n > 0 {
				line = append(line, Span{text: "  "})
			}
			line = append(line, row[i].Cut(g.widths[i]).pad(g.widths[i], g.columns[i].Right)...)
		}
		if width > 0 {
			line = line.Cut(width)
		}
		all = append(all, line)
	}
	return all
}
