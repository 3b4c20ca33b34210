package ui

import (
	"testing"
	"time"
)

func TestWhatATerminalWouldObeyIsShownEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"vm1":                     "vm1",
		"vm ü 日本 '\\":             "vm ü 日本 '\\",
		"a\x1b[31mb":              `a\x1b[31mb`,
		"line\nnext\ttab\r\x00":   `line\nnext\ttab\r\x00`,
		"left\u202eright\u200b":   `left\u202eright\u200b`,
		"\x9b31m bad \xff utf-8":  `\x9b31m bad \xff utf-8`,
		"\u0085 \U000e0041":       `\u0085 \U000e0041`,
		"\uFFFD is what it is":    "\uFFFD is what it is",
		"non\u00a0breaking space": `non\u00a0breaking space`,
	} {
		if got := Visible(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestLineIsCutToAWidthAndPainted(t *testing.T) {
	l := Line{{Good, "abc"}, {Plain, " 日本 "}, {Bad, "xyz"}}
	if w := l.Width(); w != 12 {
		t.Errorf("%d columns", w)
	}
	for width, want := range map[int]string{-1: "", 0: "", 1: "…", 3: "ab…", 4: "abc…", 6: "abc …", 7: "abc 日…", 9: "abc 日本…", 11: "abc 日本 x…", 12: "abc 日本 xyz", 99: "abc 日本 xyz"} {
		if got := l.Cut(width).Plain(); got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
		if got := l.Cut(width); width >= 0 && got.Width() > width {
			t.Errorf("%d: %d columns", width, got.Width())
		}
	}
	if got, want := l.Cut(4).Paint(true), "\x1b[32mabc\x1b[0m…"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := (Line{{Bad, "x "}, {Plain, "   "}}).Paint(true), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("blanks at the end: %q, want %q", got, want)
	}
}

func TestSparklineTellsWithoutColoursWhatIsOverTheLimit(t *testing.T) {
	values := []Spark{{Part: -1}, {Part: 0}, {Part: 0.5}, {Part: 0.99}, {Part: 1}, {Part: 1.01}, {Part: 7}, {Part: 0.2, Failed: true}, {Part: 0.1}}
	l := Sparkline(values, 20)
	if got := l.Plain(); got != "▁▁▄▇▇██x▁" {
		t.Errorf("%q", got)
	}
	if got, want := l.Paint(true), "\x1b[32m▁▁▄▇▇\x1b[0m\x1b[31m██x\x1b[0m\x1b[32m▁\x1b[0m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Sparkline(values, 3).Plain(); got != "█x▁" {
		t.Errorf("the last three: %q", got)
	}
}

func TestShortAmounts(t *testing.T) {
	for n, want := range map[int64]string{-1: "0", 0: "0", 1: "1B", 1023: "1023B", 1024: "1.0K", 10 << 10: "10K", 10188: "9.9K", 10189: "10K", 1023 << 20: "1023M", 1<<30 - 1: "1.0G", 1 << 62: "4.0E"} {
		if got := ShortBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-5 * time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 150 * time.Second: "2m30s", 3599 * time.Second: "59m",
		time.Hour + 5*time.Minute: "1h5m", 50 * time.Hour: "2d2h", 48 * time.Hour: "2d"} {
		if got := ShortDuration(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
