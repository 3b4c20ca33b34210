package schedule

import (
	"testing"
	"time"
)

func TestPredict(t *testing.T) {
	s := time.Second
	times := func(n int, d time.Duration) (took []time.Duration) {
		for range n {
			took = append(took, d)
		}
		return took
	}
	for name, c := range map[string]struct {
		took []time.Duration
		want time.Duration
	}{
		"nothing known":             {nil, 0},
		"one":                       {times(1, 7*s), 7 * s},
		"always the same":           {times(40, 7*s), 7 * s},
		"a slow one a moment ago":   {append(times(15, 2*s), 60*s, 2*s, 2*s), 60 * s},
		"a slow one, long ago":      {append([]time.Duration{3600 * s}, times(Remembered, 2*s)...), 2 * s},
		"half slow, two deviations": {append(times(8, 1*s), times(8, 3*s)...), 4 * s},
	} {
		if got := Predict(c.took); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	const m = time.Minute
	r := Rule{Every: 10 * m, RPO: 20 * m}
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	past := Past{Fresh: noon, Tried: noon, Took: []time.Duration{2 * m}}
	var none time.Time
	for name, c := range map[string]struct {
		now           time.Time
		past          Past
		running, next time.Time
		want          Health
	}{
		"no replica":                          {at(0), Past{}, none, at(0), Broken},
		"waits for its time":                  {at(9 * m), past, none, at(10 * m), Healthy},
		"runs":                                {at(12 * m), past, at(10 * m), at(20 * m), Healthy},
		"would end in time":                   {at(17 * m), past, none, at(18 * m), Healthy},
		"would end too late":                  {at(17 * m), past, none, at(18*m + 1), AtRisk},
		"was due, is held back, could do it":  {at(18 * m), past, none, at(10 * m), Healthy},
		"was due, is held back, cannot do it": {at(18*m + 1), past, none, at(10 * m), AtRisk},
		"runs, but began late":                {at(19 * m), past, at(19 * m), none, AtRisk},
		"runs longer than it ever did":        {at(20 * m), past, at(5 * m), none, Healthy},
		"too old":                             {at(20*m + 1), past, at(5 * m), none, Broken},
	} {
		if got := r.Judge(c.now, &c.past, c.running, c.next); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestSlack(t *testing.T) {
	r := Rule{RPO: time.Hour}
	now := noon.Add(10 * time.Minute)
	if got := r.Slack(now, &Past{Fresh: noon, Took: []time.Duration{5 * time.Minute}}); got != 45*time.Minute {
		t.Errorf("%v", got)
	}
	if got := r.Slack(now, &Past{}); got != -time.Hour {
		t.Errorf("without a replica: %v", got)
	}
}
