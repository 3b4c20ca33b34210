package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// section is one set of keys with values, read key by key.
type section struct {
	position
	name   string // for messages: what the keys belong to, empty for the file itself
	values map[string]*node
	keys   map[string]position // those without a good value too
	wrong  bool                // it is no section at all, which was told
	f      *findings
}

// readSection reads what should be keys with values. Keys that are not known, twice there
// or without a value are told of and left out, so that what is read of the rest holds.
func readSection(n *node, name string, known []string, f *findings) section {
	s := section{position: n.position, name: name, values: map[string]*node{}, keys: map[string]position{}, f: f}
	if n.kind != mapping {
		s.wrong = true
		f.add(n.position, "%s is %s: write keys with values below it", cmp.Or(name, "the file"), n.what())
		return s
	}
	for _, field := range n.fields {
		key, at := field.key.text, field.key.position
		switch {
		case field.key.kind != scalar || field.key.empty || key == "":
			f.add(at, "this is no key: write a name, a colon and a value")
		case known != nil && !slices.Contains(known, key):
			f.add(at, "unknown key %q%s: %s", key, s.of(), advice(key, known))
		case s.has(key):
			f.add(at, "%s is there twice: keep this one or that on line %d", key, s.keys[key].line)
		case field.value.empty:
			f.add(at, "%s has no value: give one or remove the key", key)
			s.keys[key] = at
		default:
			s.values[key], s.keys[key] = field.value, at
		}
	}
	return s
}

// has says whether the key is there, with a value or without.
func (s section) has(key string) bool {
	_, there := s.keys[key]
	return there
}

func (s section) of() string {
	if s.name == "" {
		return ""
	}
	return " in " + s.name
}

// what describes a node for messages.
func (n *node) what() string {
	if n.empty {
		return "empty"
	}
	return n.kind.String()
}

// advice names the key that was probably meant, or all that there are.
func advice(key string, known []string) string {
	for _, k := range known {
		if near(strings.ToLower(strings.ReplaceAll(key, "-", "_")), k) {
			return fmt.Sprintf("did you mean %s?", k)
		}
	}
	return "known are " + strings.Join(known, ", ")
}

// near says whether two words differ in one letter, or in the order of two.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i == len(a) || a[i+1:] == b[i+1:] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

// at is where a key is, or the section itself where it has none.
func (s section) at(key string) position {
	if at, ok := s.keys[key]; ok {
		return at
	}
	return s.position
}

// inOrder lists the keys as the file has them.
func (s section) inOrder() []string {
	return slices.SortedFunc(maps.Keys(s.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.keys[a].line, s.keys[b].line), cmp.Compare(s.keys[a].column, s.keys[b].column))
	})
}

// one reads a single value; nil if it is not given, or wrong.
func one[T any](s section, key string, parse func(string) (T, error)) *T {
	n := s.values[key]
	if n == nil {
		return nil
	}
	v, ok := parseNode(s, key, n, parse)
	if !ok {
		return nil
	}
	return &v
}

// orElse reads a single value that has a default.
func orElse[T any](s section, key string, fallback T, parse func(string) (T, error)) T {
	if v := one(s, key, parse); v != nil {
		return *v
	}
	return fallback
}

// many reads a list, for which a single value also does; nil only if it is not given.
func many[T any](s section, key string, parse func(string) (T, error)) []T {
	n := s.values[key]
	switch {
	case n == nil:
		return nil
	case n.kind == scalar:
		n = &node{position: n.position, kind: list, items: []*node{n}}
	case n.kind == mapping:
		s.f.add(n.position, "%s is %s: write a list: [one, two]", key, n.what())
		return nil
	}
	values := []T{}
	for _, item := range n.items {
		if v, ok := parseNode(s, key, item, parse); ok {
			values = append(values, v)
		}
	}
	return values
}

func parseNode[T any](s section, key string, n *node, parse func(string) (T, error)) (v T, ok bool) {
	if n.kind != scalar || n.empty {
		s.f.add(n.position, "%s is %s: give a single value", key, n.what())
		return v, false
	}
	v, err := parse(n.text)
	if err != nil {
		s.f.add(n.position, "%s: %v", key, err)
		return v, false
	}
	return v, true
}

// sections reads a list of sections.
func (s section) sections(key string, known []string) []section {
	n := s.values[key]
	if n == nil {
		return nil
	}
	if n.kind != list {
		s.f.add(n.position, "%s is %s: write a list, each item with a - in front", key, n.what())
		return nil
	}
	all := []section{}
	for _, item := range n.items {
		all = append(all, readSection(item, "an item of "+key, known, s.f))
	}
	return all
}

// child reads a section below this one; empty if it is not given.
func (s section) child(key string, known []string) section {
	n := s.values[key]
	if n == nil {
		return section{position: s.position, name: key, f: s.f}
	}
	return readSection(n, key, known, s.f)
}

// need tells of a key that is not there.
func (s section) need(key, example string) bool {
	if !s.wrong && !s.has(key) {
		s.f.add(s.position, "%s is missing%s: write %s", key, s.of(), example)
	}
	return s.values[key] != nil
}
