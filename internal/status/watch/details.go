package watch

import (
	"fmt"
	"strings"

	"vmsync/internal/api"
	"vmsync/internal/status"
	"vmsync/internal/ui"
)

// detailLines are what there is to know of the selected machine, and its last runs.
func (m Model) detailLines(rows int) []ui.Line {
	all := m.machines()
	if rows == 0 || len(all) == 0 {
		return nil
	}
	one := all[m.chosen(all)]
	lines := []ui.Line{m.heading(one.Name), ui.Words(about(one))}
	if one.Error != nil {
		text := status.OneLine(one.Error.Message)
		if one.Error.Hint != "" {
			text += "; " + status.OneLine(one.Error.Hint)
		}
		lines = append(lines, wrap(ui.Text(ui.Bad, "error: "), text, m.width, 3)...)
	}
	if one.Paused != nil {
		lines = append(lines, ui.Words("paused since "+m.moment(one.Paused.Since)+": "+status.OneLine(status.Dash(one.Paused.Reason))))
	}
	room := rows - len(lines) - 1
	runs := m.runs[key(one)]
	if room <= 0 || len(runs) == 0 {
		return lines[:min(rows, len(lines))]
	}
	return append(lines, status.RunRows(m.width, runs[:min(room, len(runs))], m.now, m.moment)...)
}

// about is where a machine comes from and goes to.
func about(one *api.Machine) string {
	text := fmt.Sprintf("%s/%s to %s in %s, %s", one.Source, one.Name, one.TargetDomain, one.Store, one.Schedule)
	if one.States != nil {
		text += ", " + ui.Count(*one.States, "state")
	}
	if one.Size != nil {
		text += ", " + ui.Bytes(*one.Size)
	}
	if one.Failures > 0 {
		text += ", failed " + ui.Count(one.Failures, "time")
	}
	return text
}

// wrap breaks a text into lines of a width, at most so many; what does not fit is cut.
func wrap(first ui.Line, text string, width, most int) []ui.Line {
	lines := []ui.Line{first}
	for _, word := range strings.Fields(text) {
		last := len(lines) - 1
		longer := join(lines[last], ui.Words(word+" "))
		if longer.Width() > width+1 && len(lines) < most && last >= 0 && lines[last].Width() > 0 {
			lines = append(lines, ui.Words("  "+word+" "))
			continue
		}
		lines[last] = longer
	}
	return lines
}
