package schedule

import (
	"fmt"
	"testing"
	"time"
)

// daily is a calendar of one time each day.
type daily struct{ hour int }

func (d daily) Next(t time.Time) time.Time {
	next := time.Date(t.Year(), t.Month(), t.Day(), d.hour, 0, 0, 0, t.Location())
	if !next.After(t) {
		next = next.AddDate(0, 0, 1)
	}
	return next
}

// once is a calendar that has ended.
type once struct{}

func (once) Next(time.Time) time.Time { return time.Time{} }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDue(t *testing.T) {
	retry := Retry{First: 30 * time.Second, Max: 15 * time.Minute}
	every := Rule{Every: time.Hour, RPO: 2 * time.Hour, Retry: retry}
	nightly := Rule{Calendar: daily{3}, RPO: 25 * time.Hour, Retry: retry}
	ended := Rule{Calendar: once{}, RPO: time.Hour, Retry: retry}
	continuous := Rule{Continuous: true, RPO: 80 * time.Second, Retry: retry}
	s := time.Second
	for name, c := range map[string]struct {
		rule Rule
		past Past
		want time.Time
	}{
		"first sync":                   {every, Past{}, time.Time{}},
		"first sync of a calendar":     {nightly, Past{}, time.Time{}},
		"first continuous sync":        {continuous, Past{}, time.Time{}},
		"from start to start":          {every, Past{Fresh: noon, Tried: noon, Took: []time.Duration{40 * time.Minute}}, noon.Add(time.Hour)},
		"too little had changed":       {every, Past{Fresh: noon.Add(-time.Hour), Tried: noon}, noon.Add(time.Hour)},
		"the next night":               {nightly, Past{Fresh: noon, Tried: noon}, time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)},
		"missed nights are one":        {nightly, Past{Fresh: noon.AddDate(0, 0, -9), Tried: noon.AddDate(0, 0, -9)}, time.Date(2026, 2, 21, 3, 0, 0, 0, time.UTC)},
		"no time is left":              {ended, Past{Fresh: noon, Tried: noon}, never},
		"when it must":                 {continuous, Past{Fresh: noon, Tried: noon, Took: []time.Duration{5 * s, 5 * s}}, noon.Add((80 - 5 - 10) * s)},
		"a look found nothing changed": {continuous, Past{Fresh: noon.Add(60 * s), Tried: noon.Add(60 * s)}, noon.Add((60 + 70) * s)},
		"syncs take longer than RPO":   {continuous, Past{Fresh: noon, Tried: noon, Took: []time.Duration{200 * s}}, noon.Add(20 * s)},
		"first failure":                {every, Past{Fresh: noon, Tried: noon, Failures: 1, Failed: noon.Add(time.Hour)}, noon.Add(time.Hour + 30*s)},
		"third failure":                {every, Past{Failures: 3, Failed: noon}, noon.Add(120 * s)},
		"hundredth failure":            {nightly, Past{Failures: 100, Failed: noon}, noon.Add(15 * time.Minute)},
		"failure of a continuous one":  {continuous, Past{Fresh: noon, Tried: noon, Failures: 1, Failed: noon.Add(70 * s)}, noon.Add(100 * s)},
	} {
		if got := c.rule.Due("vm1", &c.past); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if !Never(ended.Due("vm1", &Past{Tried: noon})) || Never(noon) {
		t.Error("never is not told from a time")
	}
}

func TestRetryGrowsUpToItsBound(t *testing.T) {
	r := Retry{First: 40 * time.Second, Max: 5 * time.Minute}
	for failures, want := range map[int]time.Duration{1: 40 * time.Second, 2: 80 * time.Second, 3: 160 * time.Second, 4: 5 * time.Minute, 5: 5 * time.Minute, 1 << 30: 5 * time.Minute} {
		if got := r.After(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}

// Machines of one calendar begin at different times, each always at the same one, and the
// sync of one night does not count for the next.
func TestSpread(t *testing.T) {
	const spread = 20 * time.Minute
	r := Rule{Calendar: daily{3}, RPO: 25 * time.Hour, Spread: spread}
	begin := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	quarters := map[time.Duration]int{}
	for i := range 400 {
		key := fmt.Sprintf("vm%d", i)
		first := r.Due(key, &Past{Tried: noon})
		shift := first.Sub(begin)
		if shift < 0 || shift >= spread {
			t.Fatalf("%s: moved by %v", key, shift)
		}
		quarters[shift/(spread/4)]++
		second := r.Due(key, &Past{Tried: first.Add(time.Second)})
		if second.Sub(first) != 24*time.Hour {
			t.Fatalf("%s: then at %v, after %v", key, second, first)
		}
	}
	for q := range time.Duration(4) {
		if n := quarters[q]; n < 60 || n > 140 {
			t.Errorf("%d of 400 are in quarter %d", n, q)
		}
	}
}

// Machines that began at the same time do not stay together, and what is due does not
// depend on when it is asked for.
func TestSpreadOfIntervals(t *testing.T) {
	r := Rule{Every: time.Hour, RPO: 3 * time.Hour, Spread: 10 * time.Minute}
	due := map[time.Time]bool{}
	for i := range 100 {
		key := fmt.Sprintf("vm%d", i)
		first := r.Due(key, &Past{Tried: noon})
		if again := r.Due(key, &Past{Tried: noon.In(time.FixedZone("x", 3600))}); !again.Equal(first) {
			t.Fatalf("%s: %v and %v", key, first, again)
		}
		if first.Before(noon.Add(time.Hour)) || !first.Before(noon.Add(70*time.Minute)) {
			t.Fatalf("%s: due at %v", key, first)
		}
		due[first] = true
	}
	if len(due) < 90 {
		t.Errorf("100 machines have %d times", len(due))
	}
}
