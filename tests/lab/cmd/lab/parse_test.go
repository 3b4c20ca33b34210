package main

import (
	"testing"

	"vmsync/tests/lab"
)

func TestRatesAndLossesAreRead(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "100mbit": 1e8, "1gbit": 1e9, "64Kbit": 64000, "-1mbit": -1, "fast": -1, "": -1} {
		got, err := parseRate(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("rate %q: %d, want %d", in, got, want)
		}
	}
	for in, want := range map[string]float64{"0%": 0, "0.5%": 0.005, "50": 0.5, "101%": -1, "x": -1} {
		got, err := parsePercent(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("loss %q: %v, want %v", in, got, want)
		}
	}
}

func TestDisksAreRead(t *testing.T) {
	d, err := parseDisk("vdb:512M:raw")
	if want := (lab.DiskSpec{Target: "vdb", Size: 512 << 20, Format: "raw"}); err != nil || d != want {
		t.Errorf("got %+v, %v", d, err)
	}
	for _, bad := range []string{"", "vda", "vda:", ":1G", "vda:1X", "vda:-1", "vda:9000000T"} {
		if d, err := parseDisk(bad); err == nil {
			t.Errorf("disk %q was read as %+v", bad, d)
		}
	}
}
