package units

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// lengths are the units of time, the longest first. A day is 24 hours: calendars have no part in it.
func lengths() []length {
	return []length{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}
}

type length struct {
	name string
	size time.Duration
}

// ParseDuration reads a length of time: whole numbers with a unit each, the longest unit
// first: 90s, 15m, 1h30m, 1d12h, 2w. Units are w, d (24 hours), h, m, s and ms. A lone 0
// needs none.
func ParseDuration(text string) (time.Duration, error) {
	bad := func(why string) (time.Duration, error) {
		return 0, fmt.Errorf("%q is not a length of time like 90s, 15m, 1h30m or 2d: %s", text, why)
	}
	if text == "0" {
		return 0, nil
	}
	if text == "" {
		return bad("it is empty")
	}
	var total time.Duration
	known := lengths()
	for rest := text; rest != ""; {
		var n int64
		digits := 0
		for ; digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9'; digits++ {
			if n > (math.MaxInt64-9)/10 {
				return bad("it is too long")
			}
			n = n*10 + int64(rest[digits]-'0')
		}
		if digits == 0 {
			return bad("a whole number is missing")
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		if letters == 0 {
			return bad("a unit is missing, one of w, d, h, m, s and ms")
		}
		i := 0
		for ; i < len(known) && known[i].name != rest[:letters]; i++ {
		}
		if i == len(known) {
			return bad("units are w, d, h, m, s and ms, each once, the longest first")
		}
		if n > int64((math.MaxInt64-total)/known[i].size) {
			return bad("it is too long")
		}
		total += time.Duration(n) * known[i].size
		known, rest = known[i+1:], rest[letters:]
	}
	return total, nil
}

// FormatDuration writes a length of time, zero or more, in whole milliseconds, so that
// [ParseDuration] reads the same.
func FormatDuration(d time.Duration) string {
	if d < time.Millisecond {
		return "0s"
	}
	var b strings.Builder
	for _, u := range lengths() {
		if u.name == "w" && d%u.size != 0 {
			continue // 15d says more than 2w1d
		}
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	return b.String()
}
