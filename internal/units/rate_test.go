package units

import "testing"

func TestParseRate(t *testing.T) {
	for in, want := range map[string]int64{
		"50M": 50_000_000, "50MB": 50_000_000, "50MiB": 50 << 20, "1.5G": 1_500_000_000, "1000": 1000, "64 kB": 64_000,
	} {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("%q: got %d, error %v", in, got, err)
		}
	}
	for _, in := range []string{"", "fast", "-1M", "0", "999", "M", "50Mbit", "16EiB"} {
		if got, err := ParseRate(in); err == nil {
			t.Errorf("%q: got %d", in, got)
		}
	}
}
