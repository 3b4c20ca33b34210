package config

import "slices"

// Resolve says what holds for a machine of a source, and whether it is to be replicated.
//
// A machine is replicated that an entry names, or that a pattern takes in and exclude does
// not. Its settings are those of the entry that names it; what that does not say is as the
// first pattern in the file says that takes it in, and no other pattern; then as defaults
// say. An entry or a pattern with source: counts for machines of those only.
//
// The same machine on two sources, seen while it is moved, gives the same replica twice:
// it is up to the caller to follow one of them.
func (m *machines) Resolve(source, domain string) (Policy, bool) {
	layers := m.layers(source, domain)
	if layers == nil {
		return Policy{}, false
	}
	p := m.join(layers).complete(&findings{}) // checked by Parse
	p.Source, p.Domain = source, domain
	p.TargetDomain = expand(p.TargetDomain, source, domain)
	if m.defaults.given() {
		p.From = append(p.From, m.defaults.layer)
	}
	for _, l := range layers {
		p.From = append(p.From, l.layer)
	}
	return p, true
}

// layers are those above defaults for a machine, nil if it is not replicated.
func (m *machines) layers(source, domain string) []*settings {
	if !slices.Contains(m.sources, source) {
		return nil
	}
	patterns := m.takers(domain)
	for i := range m.entries {
		if e := &m.entries[i]; !e.pattern && e.name == domain && e.covers(source) {
			return m.above(e, source, patterns)
		}
	}
	if e := firstOf(patterns, source); e != nil {
		return []*settings{e.settings}
	}
	return nil
}

// takers are the patterns that take a name in, in the order of the file.
func (m *machines) takers(domain string) []*entry {
	for _, x := range m.exclude {
		if x == domain || matches(x, domain) {
			return nil
		}
	}
	var all []*entry
	for i := range m.entries {
		if e := &m.entries[i]; e.pattern && matches(e.name, domain) {
			all = append(all, e)
		}
	}
	return all
}

// firstOf is the pattern that counts on a source, nil for none.
func firstOf(patterns []*entry, source string) *entry {
	for _, e := range patterns {
		if e.covers(source) {
			return e
		}
	}
	return nil
}

// above are the layers above defaults of an entry for one machine, on a source; patterns
// are those that take its name in.
func (m *machines) above(e *entry, source string, patterns []*entry) []*settings {
	if p := firstOf(patterns, source); p != nil {
		return []*settings{p.settings, e.settings}
	}
	return []*settings{e.settings}
}

func (m *machines) join(layers []*settings) *settings {
	all := merge(m.base, m.defaults)
	for _, l := range layers {
		all = merge(all, l)
	}
	return all
}

// given says whether the layer has any key.
func (v *settings) given() bool { return len(v.at) > 0 }

// Entry is an entry of the list of machines.
type Entry struct {
	Name    string // or pattern
	Pattern bool
	Sources []string // never empty
	Line    int
}

// Entries are the machines and patterns of the file, in its order: what is to be looked for.
func (m *machines) Entries() []Entry {
	all := make([]Entry, len(m.entries))
	for i := range m.entries {
		e := &m.entries[i]
		all[i] = Entry{e.name, e.pattern, e.sources, e.layer.Line}
		if len(e.sources) == 0 {
			all[i].Sources = m.sources
		}
	}
	return all
}

// variant is an entry with all its layers, as they are on some of its sources.
type variant struct {
	sources []string
	merged  *settings
}

// variants puts an entry's layers together, once for all sources on which they are the same.
func (m *machines) variants(e *entry) []variant {
	sources := e.sources
	if len(sources) == 0 {
		sources = m.sources
	}
	if e.pattern {
		return []variant{{sources, m.join([]*settings{e.settings})}}
	}
	var all []variant
	patterns := m.takers(e.name)
	byPattern := map[*entry]int{}
	for _, source := range sources {
		p := firstOf(patterns, source)
		i, known := byPattern[p]
		if !known {
			i = len(all)
			byPattern[p] = i
			all = append(all, variant{merged: m.join(m.above(e, source, patterns))})
		}
		all[i].sources = append(all[i].sources, source)
	}
	return all
}
