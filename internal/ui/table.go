package ui

import (
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// Column is one column of a table.
type Column struct {
	Title string
	Right bool // numbers: aligned at their end
}

// Table writes rows of cells in aligned columns, with a line of titles above them.
// Cells may come from elsewhere: what a terminal would take for a command is replaced.
func Table(w io.Writer, columns []Column, rows [][]string) error {
	lines := make([][]string, 0, len(rows)+1)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.Title
	}
	widths := make([]int, len(columns))
	for _, row := range append([][]string{titles}, rows...) {
		line := make([]string, len(columns))
		for i := range columns {
			if i < len(row) {
				line[i] = strings.ReplaceAll(clean(row[i]), "\n", " ")
			}
			widths[i] = max(widths[i], runewidth.StringWidth(line[i]))
		}
		lines = append(lines, line)
	}
	var b strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			if i > 0 {
				row.WriteString("  ")
			}
			fill := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
			if columns[i].Right {
				row.WriteString(fill + cell)
			} else {
				row.WriteString(cell + fill)
			}
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Bytes is a number of bytes for people, in binary units.
func Bytes(n int64) string { return bytesText(n) }

// Duration is a length of time for people.
func Duration(d time.Duration) string { return durationText(d) }

// Instant is a time for people, in UTC to the minute; "-" for none.
func Instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// Clean makes a text from elsewhere fit to be shown on a terminal.
func Clean(s string) string { return clean(s) }
