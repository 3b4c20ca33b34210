package status

import (
	"fmt"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/ui"
)

// HealthStyle is how a health stands out.
func HealthStyle(h api.Health) ui.Style {
	switch h {
	case schedule.Healthy:
		return ui.Good
	case schedule.AtRisk:
		return ui.Warn
	case schedule.Broken:
		return ui.Bad
	}
	return ui.Faint
}

// Seconds is a length of time of the API.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Age is the age of the replica against what is promised of it.
func Age(m *api.Machine) ui.Cell {
	age := "-"
	if m.Age != nil {
		age = ui.ShortDuration(Seconds(*m.Age))
	}
	rpo := ui.ShortDuration(Seconds(m.RPO))
	if Seconds(m.RPO) >= tenYears {
		rpo = "-"
	}
	return ui.Cell{Text: ui.Text(HealthStyle(m.Health), age+" / "+rpo), Short: ui.Text(HealthStyle(m.Health), age+"/"+rpo)}
}

// tenYears and more is what the service says where nothing is promised.
const tenYears = 10 * 366 * 24 * time.Hour

// Last is how the last run ended, and when.
func Last(m *api.Machine, now time.Time) ui.Cell {
	c := ui.Cell{Text: ui.Words("-")}
	if m.Last != nil {
		outcome, style := string(m.Last.Outcome), ui.Plain
		if !good(m.Last) {
			style = ui.Bad
		}
		ago := ui.ShortDuration(now.Sub(m.Last.Ended))
		c.Text = ui.Text(style, outcome+" "+ago+" ago")
		if short := map[history.Outcome]string{history.Succeeded: "ok", history.Unchanged: "same"}[m.Last.Outcome]; short != "" {
			outcome = short
		}
		c.Short = ui.Text(style, outcome+" "+ago)
	}
	return c
}

// good tells whether a run left a replica as fresh as its beginning.
func good(r *history.Run) bool {
	return r.Outcome == history.Succeeded || r.Outcome == history.Unchanged
}

func percent(r *api.Running) string {
	if r.Total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", ui.Percent(r.Done, r.Total))
}

// Bytes is an amount; nil is unknown.
func Bytes(n *int64) ui.Cell {
	if n == nil {
		return ui.Cell{Text: ui.Words("-")}
	}
	return ui.Cell{Text: ui.Words(ui.Bytes(*n)), Short: ui.Words(ui.ShortBytes(*n))}
}

// Amounts are what the last run found changed and what it sent; nothing where it did not end
// well.
func Amounts(m *api.Machine) (changed, sent *int64) { return amounts(m.Last) }

func amounts(r *history.Run) (changed, sent *int64) {
	if r == nil || !good(r) {
		return nil, nil
	}
	return &r.Changed, &r.Sent
}

// rate is how fast the stream is, or was: of the run under way what it does of the disks.
func rate(m *api.Machine) ui.Cell {
	var perSecond float64
	switch {
	case m.Running != nil:
		perSecond = m.Running.PerSecond
	case m.Last != nil && m.Last.Transfer > 0:
		perSecond = float64(m.Last.Sent) / m.Last.Transfer
	}
	if perSecond <= 0 {
		return ui.Cell{Text: ui.Words("-")}
	}
	return ui.Cell{Text: ui.Words(ui.Bytes(int64(perSecond)) + "/s"), Short: ui.Words(ui.ShortBytes(int64(perSecond)) + "/s")}
}

// Number is a number; nil is unknown.
func Number(n *int) ui.Cell {
	if n == nil {
		return ui.Cell{Text: ui.Words("-")}
	}
	return ui.Cell{Text: ui.Words(fmt.Sprint(*n))}
}

// Remark is what a person should know of a machine besides: how far a run is, why it is
// paused, what is wrong.
func Remark(m *api.Machine, now time.Time) string {
	switch {
	case m.Running != nil:
		return strings.TrimSpace(m.Running.Phase + " " + percent(m.Running))
	case m.Paused != nil:
		return m.Paused.Reason
	case m.Error != nil && m.Doing == api.Retrying:
		return "again in " + ui.ShortDuration(m.Next.Sub(now)) + ": " + OneLine(m.Error.Message)
	case m.Error != nil:
		return OneLine(m.Error.Message)
	}
	return ""
}

// OneLine joins the lines of a message.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Dash stands for what there is not.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
