package ui

import (
	"fmt"
	"time"
)

// levels of a sparkline. The last one is for what is over the limit, so that this shows
// without colours, too.
var levels = []rune("▁▂▃▄▅▆▇█")

// Spark is one column of a sparkline: a part of a limit; above 1 is over it. Failed is
// shown as such, whatever the part.
type Spark struct {
	Part   float64
	Failed bool
}

// Sparkline draws the last values, so many columns at most.
func Sparkline(values []Spark, columns int) Line {
	var l Line
	for _, v := range values[max(0, len(values)-columns):] {
		style, text := Good, ""
		switch {
		case v.Failed:
			style, text = Bad, "x"
		case v.Part > 1:
			style, text = Bad, string(levels[len(levels)-1])
		default:
			text = string(levels[max(0, min(int(v.Part*float64(len(levels)-1)), len(levels)-2))])
		}
		if n := len(l); n > 0 && l[n-1].style == style {
			l[n-1].text += text
			continue
		}
		l = append(l, Span{style, text})
	}
	return l
}

// Bar draws a bar of this many columns, at least 3.
func Bar(columns int, done, total int64) Line {
	return Line{{Accent, bar(max(3, columns), done, total)}}
}

// Percent of a total, never 100 before it is reached.
func Percent(done, total int64) int { return percent(done, total) }

// Clock is a time to go, as 0:07, 12:34 or 1:02:03.
func Clock(d time.Duration) string { return clockText(d) }

// ShortBytes is a number of bytes in five columns at most: 0, 512B, 5.0K, 12M, 1023G.
func ShortBytes(n int64) string {
	if n <= 0 {
		return "0"
	}
	f, unit := float64(n), 0
	for f >= 1023.5 && unit < len("BKMGTPE")-1 {
		f, unit = f/1024, unit+1
	}
	if unit > 0 && f < 9.95 {
		return fmt.Sprintf("%.1f%c", f, "BKMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f%c", f, "BKMGTPE"[unit])
}

// ShortDuration is a length of time in few letters: 45s, 12m, 3h20m, 2d4h.
func ShortDuration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 120:
		return fmt.Sprintf("%ds", max(s, 0))
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
