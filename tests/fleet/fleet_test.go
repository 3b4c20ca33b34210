package main

import (
	"strings"
	"testing"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/notify"
)

func TestConfigurationIsSound(t *testing.T) {
	c, err := config.Parse("vmsync.yaml", []byte(configText()))
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]bool{}
	for _, m := range policies {
		p, ok := c.Resolve(m.source, m.name)
		if !ok || p.Schedule.MaxAge == 0 && p.Schedule.RPO == 0 {
			t.Errorf("%s: %+v, %v", m.name, p.Schedule, ok)
		}
		if p.Group == groupName {
			members[m.source] = true
		}
	}
	if len(members) != 2 {
		t.Errorf("the group has machines of %v", members)
	}
}

func TestNobodyWasTold(t *testing.T) {
	zero := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	var samples []sample // too old from 30 s on until 60
	for s := 1.0; s <= 60; s++ {
		samples = append(samples, sample{"web", at(s), zero, 30 * time.Second, zero, s > 31})
	}
	told := func(e config.Event, s float64) notify.News {
		return notify.News{Event: e, Time: at(s), Domain: "web", Source: "hosta"}
	}
	other := told(config.RPOBroken, 31)
	other.Domain = "mail"
	for name, c := range map[string]struct {
		told []notify.News
		says string
	}{
		"told":          {[]notify.News{told(config.RPOBroken, 31), told(config.Recovered, 61)}, ""},
		"never":         {[]notify.News{other}, "nobody was told"},
		"too late":      {[]notify.News{told(config.RPOBroken, 55), told(config.Recovered, 61)}, "nobody was told"},
		"of before":     {[]notify.News{told(config.RPOBroken, 5), told(config.Recovered, 10)}, "nobody was told"},
		"not of an end": {[]notify.News{told(config.RPOBroken, 31)}, `the last that was told is "rpo_broken"`},
	} {
		text := ""
		for _, err := range untold(&machine{name: "web", source: "hosta"}, samples, c.told) {
			text += err.Error() + "\n"
		}
		if c.says == "" && text != "" || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, want %q", name, text, c.says)
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
