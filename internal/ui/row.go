package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// phaseRow is the row of a phase that runs; about says more of it, or nothing.
func phaseRow(width int, phase string, elapsed time.Duration, about string) string {
	return fit(width, "• "+phase+"  "+clockText(elapsed)+about)
}

// about is what a stream has carried, for the row of its phase.
func (s *streamRow) about() string {
	if s.traffic.Bytes == 0 {
		return ""
	}
	return "  " + bytesText(s.traffic.Bytes) + " sent" + trafficText(s.traffic, s.rate.perSecond())
}

// text is the row of a disk: name, bar, percentage, sizes, rate and time to go, as
// much of it as fits, the bar in what is left.
func (d *diskRow) text(width int) string {
	name := "  " + clean(d.disk) + " "
	sizes := bytesText(d.done)
	if d.total > 0 {
		sizes = fmt.Sprintf("%3d%% %s of %s", percent(d.done, d.total), sizes, bytesText(d.total))
	} else if d.size > 0 {
		sizes += fmt.Sprintf(", %d%% of the disk scanned", percent(d.scanned, d.size))
	}
	var speed, left string
	if perSecond := d.rate.perSecond(); perSecond > 0 {
		speed = "  " + bytesText(int64(perSecond)) + "/s"
	}
	if eta, ok := d.rate.left(d.total); ok {
		left = "  " + clockText(eta)
	}
	// These grow and shrink; a fixed width keeps the bar still.
	tail := fmt.Sprintf(" %-29s%13s%9s", sizes, speed, left)
	const least = 8
	room := width - 1 - runewidth.StringWidth(name) - runewidth.StringWidth(tail)
	if room < least || d.total <= 0 {
		return fit(width, name+sizes+speed+left)
	}
	return name + bar(min(room, 40), d.done, d.total) + tail
}

// bar draws a bar of this many columns.
func bar(columns int, done, total int64) string {
	inner := columns - 2
	full := 0
	if total > 0 && done > 0 {
		full = min(inner, int(float64(inner)*(float64(done)/float64(total))))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", inner-full) + "]"
}

// fit cuts a row so that it never fills the last column, where some terminals
// wrap.
func fit(width int, s string) string {
	if width < 2 {
		return ""
	}
	return runewidth.Truncate(s, width-1, "…")
}
