package watch

import (
	"fmt"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/status"
	"vmsync/internal/ui"
)

// eventLines are the last things that happened, the newest last.
func (m Model) eventLines(rows int) []ui.Line {
	if rows == 0 {
		return nil
	}
	lines := []ui.Line{m.heading("events")}
	for _, e := range m.events[max(0, len(m.events)-(rows-1)):] {
		lines = append(lines, join(ui.Text(ui.Faint, m.moment(e.Time)+"  "), Line(e)))
	}
	return lines
}

// Line says what an event is, without its time.
func Line(e api.Event) ui.Line {
	var who ui.Line
	switch {
	case e.Machine != "":
		who = ui.Text(ui.Strong, e.Machine+" ")
	case e.Source != "":
		who = ui.Text(ui.Strong, e.Source+" ")
	}
	style, what := say(e)
	return join(who, ui.Text(style, what))
}

func say(e api.Event) (ui.Style, string) {
	switch e.Event {
	case api.EventRunBegan:
		if e.Run != nil {
			return ui.Plain, "sync begins (" + e.Run.Trigger + ")"
		}
	case api.EventRunEnded:
		if e.Run != nil {
			return sayRun(e.Run)
		}
	case api.EventHealth:
		return status.HealthStyle(e.Health), sayHealth(e)
	case api.EventPaused:
		if e.Reason != "" {
			return ui.Plain, "is paused: " + status.OneLine(e.Reason)
		}
		return ui.Plain, "is paused"
	case api.EventResumed:
		return ui.Plain, "goes on"
	case api.EventMachineAdded:
		return ui.Plain, "is replicated from now on"
	case api.EventMachineGone:
		return ui.Warn, "is no longer replicated"
	case api.EventSourceLost:
		if e.Error != nil {
			return ui.Bad, "does not answer: " + status.OneLine(e.Error.Message)
		}
		return ui.Bad, "does not answer"
	case api.EventSourceBack:
		return ui.Good, "answers again"
	case api.EventReloaded:
		return ui.Plain, "the configuration was read again"
	case api.EventStopping:
		return ui.Warn, "the service ends"
	case api.EventMissed:
		return ui.Warn, ui.Count(e.Missed, "event") + " missed"
	}
	return ui.Plain, e.Event // of a later release
}

func sayRun(r *history.Run) (ui.Style, string) {
	took := ui.Duration(r.Duration(r.Ended))
	switch {
	case r.Outcome == history.Succeeded:
		return ui.Plain, fmt.Sprintf("synced in %s: %s, %s changed, %s sent", took, r.Kind, ui.Bytes(r.Changed), ui.Bytes(r.Sent))
	case r.Outcome == history.Unchanged:
		return ui.Plain, fmt.Sprintf("had %s changed: no new state", ui.Bytes(r.Changed))
	case r.Error != nil:
		return ui.Bad, fmt.Sprintf("sync %s after %s: %s", r.Outcome, took, status.OneLine(r.Error.Message))
	}
	return ui.Bad, fmt.Sprintf("sync %s after %s", r.Outcome, took)
}

func sayHealth(e api.Event) string {
	against := fmt.Sprintf(" (%s / %s)", ui.ShortDuration(status.Seconds(e.Age)), ui.ShortDuration(status.Seconds(e.RPO)))
	switch e.Health {
	case schedule.Broken:
		return "is older than promised" + against
	case schedule.AtRisk:
		return "will be older than promised, as it looks" + against
	case schedule.Healthy:
		return "is as fresh as promised" + against
	}
	return "is " + string(e.Health)
}
