package config

import (
	"slices"
	"strings"

	"vmsync/internal/store"
)

// check finds what is wrong between entries. Every combination of layers that Resolve can
// meet is put together once.
func (m *machines) check(f *findings) {
	m.checkNames(f)
	g := groups{members: map[string]member{}, f: f}
	replicas := replicas{taken: map[[2]string]position{}, f: f}
	for i := range m.entries {
		e := &m.entries[i]
		for _, v := range m.variants(e) {
			p := v.merged.complete(f)
			g.add(v.merged, p, e.name+" on "+v.sources[0])
			if e.pattern {
				continue
			}
			for _, source := range v.sources {
				replicas.add(v.merged, p, source, e.name)
				if !strings.Contains(p.TargetDomain, "{source}") {
					break // the same on all of them
				}
			}
		}
	}
}

// checkNames finds entries that say the same name, or that nothing is left for.
func (m *machines) checkNames(f *findings) {
	byName := map[string][]*entry{}
	var all *entry // a pattern that takes everything in
	for i := range m.entries {
		e := &m.entries[i]
		for _, other := range byName[e.name] {
			if e.overlaps(other) {
				f.add(e.here, "%s is there twice: put this together with the entry on line %d, or give each a source of its own", e.name, other.here.line)
				break
			}
		}
		byName[e.name] = append(byName[e.name], e)
		switch {
		case e.pattern && all != nil:
			f.add(e.here, "%s is never used: * on line %d takes every machine before: move that to the end", e.name, all.here.line)
		case e.name == "*" && len(e.sources) == 0:
			all = e
		case !e.pattern && slices.Contains(m.exclude, e.name):
			f.add(e.here, "%s is also named under exclude: remove one of them", e.name)
		}
	}
}

// replicas finds machines that would be the same replica.
type replicas struct {
	taken map[[2]string]position
	f     *findings
}

func (r *replicas) add(v *settings, p Policy, source, domain string) {
	name := expand(p.TargetDomain, source, domain)
	if err := store.CheckDomainName(name); err != nil {
		r.f.add(v.place("target_domain"), "target_domain: %q cannot be a replica's name: choose a shorter one", name)
	}
	key := [2]string{p.Store, name}
	if other, taken := r.taken[key]; taken && other != v.here {
		r.f.add(v.here, "%s would be the same replica as the entry on line %d, %s in %s: give one of them another target_domain", domain, other.line, name, p.Store)
		return
	}
	r.taken[key] = v.here
}
