package config

import (
	"path"
	"slices"
	"strings"
)

// machines is what the file says of machines.
type machines struct {
	sources  []string
	base     *settings
	defaults *settings
	entries  []entry // in the order of the file
	exclude  []string
}

// entry is one of the list of machines.
type entry struct {
	*settings
	name    string // or pattern
	pattern bool
	sources []string // empty: all
}

// covers says whether the entry is for machines of a source.
func (e *entry) covers(source string) bool {
	return len(e.sources) == 0 || slices.Contains(e.sources, source)
}

// overlaps says whether two entries are for machines of one source.
func (e *entry) overlaps(o *entry) bool {
	return len(e.sources) == 0 || len(o.sources) == 0 || slices.ContainsFunc(e.sources, func(s string) bool { return slices.Contains(o.sources, s) })
}

// matches says whether a pattern takes a name in. Patterns are checked when they are read.
func matches(pattern, domain string) bool {
	ok, err := path.Match(pattern, domain)
	return ok && err == nil
}

func (m *machines) read(top section, c *Config) {
	m.base = base(c.Store, c.Notifications)
	for _, s := range c.Sources {
		m.sources = append(m.sources, s.Name)
	}
	m.defaults = readSettings(top.child("defaults", settingKeys()), "defaults", rankDefaults)
	m.defaults.layer.Line = top.at("defaults").line
	m.exclude = many(top, "exclude", machine)
	m.checkNotify(top, m.defaults, c)
	if !top.need("machines", "a list of machines, each with a name: or a pattern, like - name: web-*") {
		return
	}
	items := top.sections("machines", entryKeys())
	if items != nil && len(items) == 0 {
		top.f.add(top.at("machines"), "machines: there are none: add one, like - name: web-*")
	}
	for _, s := range items {
		m.readEntry(s, c)
	}
	m.bound(top)
}

func (m *machines) readEntry(s section, c *Config) {
	e := entry{sources: many(s, "source", name)}
	if s.need("name", "name: web-1, or a pattern like name: web-*") {
		e.name = orElse(s, "name", "", machine)
	}
	e.pattern = isPattern(e.name)
	rank := rankExact
	if e.pattern {
		rank = rankPattern
	}
	e.settings = readSettings(s, e.name, rank)
	for i, source := range e.sources {
		if !slices.Contains(m.sources, source) && len(m.sources) > 0 {
			s.f.add(item(s.values["source"], i), "source: there is no source %s: known are %s", source, strings.Join(m.sources, ", "))
		}
	}
	if s.values["source"] != nil && e.sources != nil && len(e.sources) == 0 {
		s.f.add(s.at("source"), "source: there are none: leave the key out for all of them")
	}
	if e.pattern && e.targetDomain != nil && !strings.Contains(*e.targetDomain, "{domain}") {
		s.f.add(s.at("target_domain"), "target_domain: all machines that %s takes in would be one replica: write {domain} in it", e.name)
	}
	m.checkNotify(s, e.settings, c)
	m.entries = append(m.entries, e)
}

// checkNotify finds notifications that are not there.
func (m *machines) checkNotify(s section, v *settings, c *Config) {
	for i, n := range v.notify {
		if _, ok := c.Notifications[n]; !ok {
			s.f.add(item(s.values["notify"], i), "notify: there is no %s under notifications: add it, or remove the name", n)
		}
	}
}

// item is where the item of a list is, or a single value instead of one.
func item(n *node, i int) position {
	if i < len(n.items) {
		return n.items[i].position
	}
	return n.position
}

// bound keeps the numbers within what can be compared.
func (m *machines) bound(top section) {
	patterns := len(m.exclude)
	for i := range m.entries {
		if m.entries[i].pattern {
			patterns++
		}
	}
	if len(m.entries) > maxMachines {
		top.f.add(top.at("machines"), "machines: more than %d entries: use patterns", maxMachines)
	}
	if patterns > maxPatterns {
		top.f.add(top.at("machines"), "machines and exclude: more than %d patterns: use fewer, wider ones", maxPatterns)
	}
}
