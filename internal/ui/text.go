package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"vmsync/internal/event"
)

// clean makes a text from elsewhere fit to be shown: control characters, which a
// terminal obeys, are replaced, and further lines are indented.
func clean(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n':
			return c
		case c == '\t':
			return ' '
		case c == '\r':
			return -1
		case unicode.IsControl(c) || unicode.Is(unicode.Cf, c):
			return '\uFFFD'
		}
		return c
	}, s)
	return strings.ReplaceAll(s, "\n", "\n  ")
}

// Count is a number of things.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// bytesText is a number of bytes for people, in binary units.
func bytesText(n int64) string {
	if n > -1024 && n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n) / 1024
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	// 1023.95 would be printed as 1024.0.
	for (f >= 1023.95 || f <= -1023.95) && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// durationText is a duration for people.
func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d.Round(time.Second) < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// clockText is a time to go, as 0:07, 12:34 or 1:02:03.
func clockText(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// percent of a total, never 100 before it is reached.
func percent(done, total int64) int {
	if total <= 0 || done < 0 {
		return 0
	}
	if done >= total {
		return 100
	}
	return int(float64(done) / float64(total) * 100)
}

func phaseText(e event.PhaseFinished) string {
	s := clean(string(e.Phase))
	if e.Detail != "" {
		s += ": " + clean(e.Detail)
	}
	return s + " (" + durationText(e.Duration) + ")"
}

func warningText(e event.Warning) string {
	if e.Disk != "" {
		return "warning: disk " + clean(e.Disk) + ": " + clean(e.Message)
	}
	return "warning: " + clean(e.Message)
}

func errorText(e event.Error) string {
	var b strings.Builder
	b.WriteString("error: ")
	if e.Domain != "" {
		b.WriteString(clean(e.Domain) + ": ")
	}
	if e.Disk != "" {
		b.WriteString("disk " + clean(e.Disk) + ": ")
	}
	b.WriteString(clean(e.Message))
	if e.Hint != "" {
		b.WriteString("\n  " + clean(e.Hint))
	}
	return b.String()
}

// summaryText is the end of a run: what there is now, and what it took.
func summaryText(e event.Summary, verbose bool) []string {
	what, way := "state "+clean(e.State), "sent"
	switch {
	case e.State == "":
		what = "checkpoint " + clean(e.Checkpoint) + " sent"
	case e.Checkpoint != "":
		what, way = what+" received", "received"
	}
	first := fmt.Sprintf("%s: %s, %s", clean(e.Domain), what, clean(e.Kind))
	if e.Consistency != "" {
		first += ", " + clean(e.Consistency) + "-consistent"
	}
	lines := []string{first}
	if e.Group != nil {
		lines = append(lines, "  "+groupText(e.Group))
	}
	if verbose {
		for _, d := range e.Disks {
			lines = append(lines, fmt.Sprintf("  disk %s: %s, %s", clean(d.Disk), clean(d.Kind),
				changedText(d.ChangedBytes, d.ZeroBytes)))
		}
	}
	lines = append(lines, fmt.Sprintf("  %s; %s in all, frozen %s",
		changedText(e.ChangedBytes, e.ZeroBytes), durationText(e.Duration), durationText(e.Frozen)))
	if e.ChangedBytes > 0 {
		lines = append(lines, fmt.Sprintf("  %s %s%s in %s%s", bytesText(e.Traffic.Bytes), way, transportText(e.Transport),
			durationText(e.Transfer), trafficText(e.Traffic, e.SentRate())))
		if e.NotDirect != "" {
			lines = append(lines, "  not directly: "+clean(e.NotDirect))
		}
	}
	return lines
}

func transportText(transport string) string {
	switch transport {
	case event.TransportDirect:
		return " directly"
	case event.TransportSSH:
		return " over SSH"
	case event.TransportTLS:
		return " through this host, over TLS"
	}
	return ""
}

// trafficText goes on about what was sent: how fast, and what compression was good
// for.
func trafficText(t event.Traffic, perSecond float64) string {
	var s string
	if perSecond > 0 {
		s = ", " + bytesText(int64(perSecond)) + "/s"
	}
	if ratio := t.Ratio(); ratio > 0 {
		s += fmt.Sprintf(", compressed %.1f:1", ratio)
	}
	return s
}

func changedText(changed, zero int64) string {
	switch {
	case changed == 0:
		return "nothing changed"
	case zero == 0:
		return bytesText(changed) + " changed"
	case zero == changed:
		return bytesText(zero) + " zeros changed"
	}
	return fmt.Sprintf("%s data and %s zeros changed", bytesText(changed-zero), bytesText(zero))
}
