package ui

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Machine is a row of [Machines].
type Machine struct {
	Name, Source, Role string
	Age                time.Duration // of the replica; negative where there is none
	RPO                time.Duration
	Last               string // how the last run ended
	LastAgo            time.Duration
	Changed, Sent      int64 // bytes, by the last run that made a state; negative where there is none
	States             int   // negative where that is not known
	Health, Doing      string
	Group              string // may be empty
	Remark             string // what else there is to say; may be empty
}

// MachineTable writes how machines stand as a table.
func MachineTable(w io.Writer, machines []Machine) error {
	if len(machines) == 0 {
		_, err := io.WriteString(w, "no machines are replicated\n")
		return err
	}
	columns := []Column{{Title: "machine"}, {Title: "source"}, {Title: "role"}, {Title: "age / rpo", Right: true}, {Title: "last run"},
		{Title: "changed", Right: true}, {Title: "sent", Right: true}, {Title: "states", Right: true}, {Title: "health"}, {Title: "now"}, {}}
	grouped := slices.ContainsFunc(machines, func(m Machine) bool { return m.Group != "" })
	if grouped {
		columns = slices.Insert(columns, groupColumn, Column{Title: "group"})
	}
	var rows [][]string
	for _, m := range machines {
		row := []string{m.Name, m.Source, dash(m.Role), ageText(m), m.last(), amount(m.Changed), amount(m.Sent), number(m.States), m.Health, m.Doing, m.Remark}
		if grouped {
			row = slices.Insert(row, groupColumn, dash(m.Group))
		}
		rows = append(rows, row)
	}
	return Table(w, columns, rows)
}

// groupColumn is where consistency groups are shown, if there are any.
const groupColumn = 2

func ageText(m Machine) string {
	age := "-"
	if m.Age >= 0 {
		age = spanText(m.Age)
	}
	return age + " / " + spanText(m.RPO)
}

// spanText is a length of time in few letters: 45s, 12m, 3h20m, 2d4h.
func spanText(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 120:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return pair(s, 60, "m", "s", s < 600)
	case s < 48*3600:
		return pair(s/60, 60, "h", "m", true)
	}
	return pair(s/3600, 24, "d", "h", true)
}

func pair(n, per int64, big, small string, both bool) string {
	if n%per == 0 || !both {
		return fmt.Sprintf("%d%s", n/per, big)
	}
	return fmt.Sprintf("%d%s%d%s", n/per, big, n%per, small)
}

func (m Machine) last() string {
	if m.Last == "" {
		return "-"
	}
	return m.Last + " " + spanText(m.LastAgo) + " ago"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func amount(n int64) string {
	if n < 0 {
		return "-"
	}
	return bytesText(n)
}

func number(n int) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
