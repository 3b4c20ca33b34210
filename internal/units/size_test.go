package units

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "64M": 64_000_000, "64MiB": 64 << 20, "1G": 1_000_000_000, "7": 7} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q: got %d, error %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "NaN", "some", "1Q", "8EiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q: got %d", in, got)
		}
	}
}

func TestFormatSizeReadsBack(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "1", 999: "999", 64_000_000: "64M", 64 << 20: "64MiB", 1024: "1KiB", 1500: "1500",
		50_000: "50k", 3 << 40: "3TiB", math.MaxInt64: "9223372036854775807"} {
		got := FormatSize(n)
		if got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
		if back, err := ParseSize(got); n < 1<<53 && (err != nil || back != n) {
			t.Errorf("%s reads as %d, error %v", got, back, err)
		}
	}
}
