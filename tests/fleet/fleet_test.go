package main

import (
	"strings"
	"testing"
	"time"

	"vmsync/internal/config"
)

func TestConfigurationIsSound(t *testing.T) {
	c, err := config.Parse("vmsync.yaml", []byte(configText()))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range policies {
		p, ok := c.Resolve(m.source, m.name)
		if !ok || p.Schedule.MaxAge == 0 && p.Schedule.RPO == 0 {
			t.Errorf("%s: %+v, %v", m.name, p.Schedule, ok)
		}
	}
}

func TestFaultsOfAService(t *testing.T) {
	zero := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	// take makes a sample each second of a head made at 0, fresh as of then.
	take := func(to float64, broken func(s float64) bool) (all []sample) {
		for s := 1.0; s <= to; s++ {
			all = append(all, sample{"web", at(s), zero, 30 * time.Second, zero, broken(s)})
		}
		return all
	}
	m := &machine{name: "web", period: 10 * time.Second}
	for name, c := range map[string]struct {
		samples []sample
		says    string
	}{
		"kept":               {take(30, func(float64) bool { return false }), ""},
		"broken and said":    {take(60, func(s float64) bool { return s > 31 }), ""},
		"said too late":      {take(60, func(s float64) bool { return s > 45 }), "said so only after 16s"},
		"never said":         {take(60, func(float64) bool { return false }), "for 30s, and the service did not say so"},
		"too short to say":   {take(36, func(float64) bool { return false }), ""},
		"fresher than it is": {[]sample{{"web", at(100), zero, time.Hour, at(95), false}}, "says its replica is as of"},
	} {
		text := ""
		for _, err := range faults(m, c.samples) {
			text += err.Error() + "\n"
		}
		if c.says == "" && text != "" || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, want %q", name, text, c.says)
		}
	}
}
