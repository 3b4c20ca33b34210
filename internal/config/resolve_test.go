package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const fleet = `version: 1
sources:
  a: qemu+ssh://root@hosta/system
  b: qemu+ssh://hostb/system
defaults: {every: 1h, max_age: 3h, keep: 9, disks: [vda], quiesce: required}
exclude: [tmp-*, "?"]
machines:
  - {name: web-1, keep: 1}
  - {name: web-2, source: a, rpo: 10s}
  - {name: tmp-kept}
  - {name: x}
  - {name: "web-[0-9]", source: b, compress: s2}
  - {name: "web-*", keep: 5, exclude_disks: [vdb]}
  - {name: "web-x*", keep: 7}
  - {name: "db-*", source: [a], cron: "0 3 * * *", disks: []}
`

// TestLayers shows which settings a machine gets, by those that the layers of fleet differ in.
func TestLayers(t *testing.T) {
	c := parsed(t, fleet)
	for _, k := range []struct {
		name, source, domain, want string
	}{
		{"the name over the first pattern over defaults", "a", "web-1", "defaults web-* web-1: every 1h max_age 3h keep 1 without vdb"},
		{"only the first pattern of the source counts", "b", "web-1", "defaults web-[0-9] web-1: every 1h max_age 3h keep 1 only vda s2"},
		{"a new schedule takes the old promise away", "a", "web-2", "defaults web-* web-2: rpo 10s max_age 10s keep 5 without vdb"},
		{"a name with a source is not for others", "b", "web-2", "defaults web-[0-9]: every 1h max_age 3h keep 9 only vda s2"},
		{"a later pattern adds nothing", "a", "web-xy", "defaults web-*: every 1h max_age 3h keep 5 without vdb"},
		{"named, although exclude fits", "a", "tmp-kept", "defaults tmp-kept: every 1h max_age 3h keep 9 only vda"},
		{"an excluded pattern", "a", "tmp-1", ""},
		{"one that exclude's pattern fits and an entry names", "b", "x", "defaults x: every 1h max_age 3h keep 9 only vda"},
		{"an empty list takes back", "a", "db-1", "defaults db-*: cron 0 3 * * * keep 9"},
		{"pattern of another source", "b", "db-1", ""},
		{"nothing fits", "a", "mail", ""},
		{"an unknown source", "c", "web-1", ""},
		{"capitals count", "a", "WEB-1", ""},
	} {
		t.Run(k.name, func(t *testing.T) {
			p, ok := c.Resolve(k.source, k.domain)
			if got := layered(p, ok); got != k.want {
				t.Errorf("got  %q\nwant %q", got, k.want)
			}
			if ok && (p.Source != k.source || p.Domain != k.domain || p.TargetDomain != k.domain || p.Quiesce != QuiesceRequired || p.Store != defaultStore) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func layered(p Policy, ok bool) string {
	if !ok {
		return ""
	}
	var names, words []string
	for _, l := range p.From {
		names = append(names, l.Name)
	}
	add := func(word, value string) {
		if value != "" {
			words = append(words, word+" "+value)
		}
	}
	add("every", shown(p.Schedule.Every))
	add("cron", cronText(p.Schedule.Cron))
	add("rpo", shown(p.Schedule.RPO))
	add("max_age", shown(p.Schedule.MaxAge))
	add("keep", p.Keep)
	add("only", strings.Join(p.Disks, ","))
	add("without", strings.Join(p.ExcludeDisks, ","))
	if p.Compress != "auto" {
		words = append(words, p.Compress)
	}
	return strings.Join(names, " ") + ": " + strings.Join(words, " ")
}

func TestSettingsThatBelongTogetherReplaceEachOther(t *testing.T) {
	const defaults = "version: 1\nsources: {a: 'qemu:///system'}\nnotifications: {n: {webhook: 'http://h/'}, o: {webhook: 'http://i/'}}\n" +
		"defaults: {every: 1h, min_changed: 1G, min_changed_max_age: 1d, quiesce: required, freeze_mountpoints: [/], rate: 1M, group: g, notify: n, before: [{on: guest, command: [x]}]}\n"
	base := resolved(t, parsed(t, defaults+"machines: [{name: m}]"), "a", "m")
	if base.MinChanged != 1_000_000_000 || base.MinChangedMaxAge != day || base.Schedule.MaxAge != day+2*time.Hour || base.Group != "g" || len(base.Before) != 1 ||
		len(base.FreezeMountpoints) != 1 || base.Rate.At(time.Now()) != 1_000_000 || !cmp.Equal(base.Notify, []string{"n"}) {
		t.Errorf("%+v", base)
	}
	for text, ok := range map[string]func(Policy) bool{
		"min_changed: 0": func(p Policy) bool {
			return p.MinChanged == 0 && p.MinChangedMaxAge == 0 && p.Schedule.MaxAge == 2*time.Hour
		},
		"min_changed: 2G":                func(p Policy) bool { return p.MinChanged == 2_000_000_000 && p.MinChangedMaxAge == day },
		"quiesce: no":                    func(p Policy) bool { return p.Quiesce == QuiesceNo && len(p.FreezeMountpoints) == 0 },
		"freeze_mountpoints: []":         func(p Policy) bool { return p.Quiesce == QuiesceRequired && len(p.FreezeMountpoints) == 0 },
		"rate: none":                     func(p Policy) bool { return p.Rate.At(time.Now()) == 0 },
		"group: none":                    func(p Policy) bool { return p.Group == "" },
		"notify: []":                     func(p Policy) bool { return len(p.Notify) == 0 },
		"notify: [o, n]":                 func(p Policy) bool { return cmp.Equal(p.Notify, []string{"o", "n"}) },
		"before: []":                     func(p Policy) bool { return len(p.Before) == 0 },
		"max_age: 2d":                    func(p Policy) bool { return p.Schedule.Every == time.Hour && p.Schedule.MaxAge == 2*day },
		"cron: '@daily', min_changed: 0": func(p Policy) bool { return p.Schedule.Every == 0 && p.Schedule.MaxAge == 0 && p.Schedule.Cron != nil },
	} {
		if p := resolved(t, parsed(t, defaults+"machines: [{name: m, "+text+"}]"), "a", "m"); !ok(p) {
			t.Errorf("%s: %+v", text, p)
		}
	}
}

func TestDefaultsWithoutAnyKey(t *testing.T) {
	c := parsed(t, "version: 1\nsources: {a: 'qemu+ssh://root@hosta:2222/system'}\nnotifications: {n: {command: [/bin/true]}}\nmachines: [{name: m, every: 15m, target_domain: '{source}-{domain}'}]\n")
	p := resolved(t, c, "a", "m")
	want := Policy{Source: "a", Domain: "m", Schedule: Schedule{Every: 15 * time.Minute, MaxAge: 30 * time.Minute}, Store: "/var/lib/vmsync", TargetDomain: "a-m",
		Compress: "auto", Transport: "auto", Quiesce: QuiescePreferred, Notify: []string{"n"}, From: []Layer{{"m", 4}}}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if c.Target.URI != "qemu:///system" || !c.Target.At.Local || c.Concurrency != (Concurrency{4, 2, 4}) || c.Retry != (Retry{30 * time.Second, 15 * time.Minute}) ||
		c.Jitter != 0 || c.API != (API{Socket: "/run/vmsync/vmsync.sock"}) || c.Metrics.Listen != "" || c.History.KeepFor != 90*day {
		t.Errorf("%+v", c)
	}
	n := c.Notifications["n"]
	if n.Timeout != 10*time.Second || len(n.Events) != 3 {
		t.Errorf("%+v", n)
	}
	h, ok := c.Source("a")
	if !ok || h.At.Host != "hosta" || h.At.Port != 2222 || h.At.User != "root" {
		t.Errorf("%+v", h)
	}
}

func TestEntriesInTheFilesOrder(t *testing.T) {
	got := parsed(t, fleet).Entries()
	if len(got) != 8 || !cmp.Equal(got[1], Entry{"web-2", false, []string{"a"}, 9}) || !cmp.Equal(got[5], Entry{"web-*", true, []string{"a", "b"}, 13}) {
		t.Errorf("%+v", got)
	}
}
