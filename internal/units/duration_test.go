package units

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute, "1d12h": 36 * time.Hour,
		"2w": 14 * day, "1w1d1h1m1s1ms": 8*day + time.Hour + time.Minute + time.Second + time.Millisecond, "250ms": 250 * time.Millisecond,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%q: got %v, error %v", in, got, err)
		}
	}
}

func TestParseDurationSaysWhatIsWrong(t *testing.T) {
	for in, why := range map[string]string{
		"": "it is empty", "15": "a unit is missing", "m": "a whole number is missing", "-5m": "a whole number is missing", "1.5h": "a unit is missing",
		"5 m": "a unit is missing", "15min": "units are", "1m1h": "the longest first", "1h1h": "each once", "1M": "a unit is missing", "99999999w": "too long",
		"99999999999999999999s": "too long", "5m3": "a unit is missing", "1y": "units are",
	} {
		got, err := ParseDuration(in)
		if err == nil {
			t.Errorf("%q: got %v", in, got)
		} else if !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %v, want %q in it", in, err, why)
		}
	}
}

func TestFormatDurationReadsBack(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Microsecond: "0s", 90 * time.Second: "1m30s", 15 * time.Minute: "15m", 36 * time.Hour: "1d12h", 14 * 24 * time.Hour: "2w",
		15 * 24 * time.Hour: "15d", 1500 * time.Millisecond: "1s500ms",
	} {
		got := FormatDuration(d)
		if got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
		if back, err := ParseDuration(got); err != nil || back != d && d >= time.Millisecond {
			t.Errorf("%s reads as %v, error %v", got, back, err)
		}
	}
}
