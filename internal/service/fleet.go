package service

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/replicator"
)

// listing is what is known of a source's domains. Nil is nothing.
type listing map[string]replicator.SourceDomain // by name

func newListing(all []replicator.SourceDomain) listing {
	l := make(listing, len(all))
	for _, d := range all {
		l[d.Name] = d
	}
	return l
}

// fleet says which machines are to be replicated, by key: those that the configuration
// names, and those that its patterns take in of what is listed, replicas excepted. Of a source that was not
// listed yet those count that the history knows (by key, in known). Of several machines
// that would be one replica, as one that is moved between sources, there is one: the one
// that runs, else the one that exists, else the one that is followed already (in current).
func fleet(c *config.Config, listed map[string]listing, known, current map[string]bool) map[string]config.Policy {
	best := map[[2]string]config.Policy{} // by replica
	rankOf := func(p *config.Policy) int {
		key := history.Key(p.Source, p.Domain)
		rank := standing(listed[p.Source], p.Domain, known[key]) * 2
		if current[key] {
			rank++
		}
		return rank
	}
	for _, s := range c.Sources {
		for _, domain := range candidates(c, s.Name, listed[s.Name], known) {
			p, ok := c.Resolve(s.Name, domain)
			if !ok {
				continue
			}
			replica := [2]string{p.Store, p.TargetDomain}
			if other, taken := best[replica]; !taken || rankOf(&p) > rankOf(&other) {
				best[replica] = p
			}
		}
	}
	all := make(map[string]config.Policy, len(best))
	for _, p := range best {
		all[history.Key(p.Source, p.Domain)] = p
	}
	return all
}

// standing ranks what is known of a domain on a source.
func standing(l listing, domain string, known bool) int {
	d, exists := l[domain]
	switch {
	case d.Replica:
		return 0 // where the machine itself may be elsewhere, it is that
	case d.Running:
		return 4
	case exists:
		return 3
	case l == nil && known:
		return 2
	case l == nil:
		return 1
	}
	return 0 // it was looked for, and is not there
}

// candidates are the names that may be machines of a source, sorted.
func candidates(c *config.Config, source string, l listing, known map[string]bool) []string {
	names := map[string]bool{}
	for _, e := range c.Entries() {
		if !e.Pattern && slices.Contains(e.Sources, source) {
			names[e.Name] = true
		}
	}
	for name, d := range l {
		if !d.Replica { // or hosts that keep each other's replicas would replicate those
			names[name] = true
		}
	}
	if l == nil {
		for key := range known {
			if s, domain, _ := strings.Cut(key, "/"); s == source {
				names[domain] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(names), cmp.Compare[string])
}
