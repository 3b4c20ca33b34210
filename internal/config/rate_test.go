package config

import (
	"testing"
	"time"
)

func TestRateByTimeOfDay(t *testing.T) {
	p := resolved(t, parsed(t, head+`
machines:
  - name: m
    rate:
      - {from: "08:00", to: "18:00", days: mon-fri, rate: 20M}
      - {from: "22:00", to: "02:00", days: [fri, sat], rate: 1G}
      - {from: "12:00", to: "13:00", rate: none}
      - {days: sun, rate: 5MiB}
`), "a", "m")
	for when, want := range map[string]int64{ // 2026-11-20 is a Friday
		"2026-11-20 07:59": 0, "2026-11-20 08:00": 20_000_000, "2026-11-20 12:30": 20_000_000, "2026-11-20 17:59": 20_000_000, "2026-11-20 18:00": 0,
		"2026-11-20 21:59": 0, "2026-11-20 22:00": 1_000_000_000, "2026-11-21 00:00": 1_000_000_000, "2026-11-21 01:59": 1_000_000_000, "2026-11-21 02:00": 0,
		"2026-11-21 12:30": 0, "2026-11-22 01:00": 1_000_000_000, "2026-11-22 02:00": 5 << 20, "2026-11-22 12:30": 0, "2026-11-22 23:00": 5 << 20,
		"2026-11-23 01:00": 0,
	} {
		if got := p.Rate.At(at(t, when)); got != want {
			t.Errorf("%s: got %d, want %d", when, got, want)
		}
	}
}

func TestRateAlways(t *testing.T) {
	for text, want := range map[string]int64{"50M": 50_000_000, "none": 0, "[]": 0, "1000": 1000} {
		p := resolved(t, parsed(t, head+"machines: [{name: m, rate: "+text+"}]"), "a", "m")
		for _, hour := range []int{0, 12, 23} {
			if got := p.Rate.At(time.Date(2026, 11, 20+hour%7, hour, 59, 59, 0, time.UTC)); got != want {
				t.Errorf("%s: got %d, want %d", text, got, want)
			}
		}
	}
}

func TestWeekdaysGoOverTheWeeksEnd(t *testing.T) {
	for text, want := range map[string][7]bool{
		"mon": {false, true}, "sun": {true}, "fri-mon": {true, true, false, false, false, true, true}, "sat-sun": {0: true, 6: true}, "mon-sun": everyDay(),
	} {
		if got, err := weekdays(text); err != nil || got != want {
			t.Errorf("%s: %v, error %v", text, got, err)
		}
	}
}
