package config

import "go.yaml.in/yaml/v4"

// node is one value of the file, with its place. Scalars are texts, as they were written:
// no, 010 and 1e3 mean what a key's own reader takes them for, not what YAML may.
type node struct {
	position
	kind   kind
	text   string // of a scalar
	empty  bool   // a scalar that is not there, or null
	items  []*node
	fields []field
}

type kind int

const (
	scalar kind = iota
	list
	mapping
)

func (k kind) String() string {
	return [...]string{"a single value", "a list", "keys with values"}[k]
}

type field struct{ key, value *node }

// maxDepth is deeper than any configuration goes.
const maxDepth = 20

// parseTree reads one YAML document. Anchors, aliases and tags are refused: defaults and
// patterns are there for what they would be used for, and without them a text cannot mean
// more than its length.
func parseTree(data []byte, f *findings) *node {
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		syntaxError(err, data, f)
		return nil
	}
	return convert(&doc, 0, f)
}

func convert(n *yaml.Node, depth int, f *findings) *node {
	out := &node{position: position{n.Line, n.Column}}
	switch {
	case depth > maxDepth:
		f.add(out.position, "nested too deeply: nothing here goes deeper than %d levels", maxDepth)
		return nil
	case n.Anchor != "" || n.Kind == yaml.AliasNode:
		f.add(out.position, "anchors and aliases (& and *) are not supported: use defaults and patterns, and put quotes around text that begins like that")
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		f.add(out.position, "tags (!) are not supported: put quotes around text that begins like that")
		return nil
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return convert(n.Content[0], depth, f)
	case yaml.SequenceNode:
		out.kind = list
		for _, item := range n.Content {
			if c := convert(item, depth+1, f); c != nil {
				out.items = append(out.items, c)
			}
		}
	case yaml.MappingNode:
		out.kind = mapping
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := convert(n.Content[i], depth+1, f), convert(n.Content[i+1], depth+1, f)
			if key != nil && value != nil {
				out.fields = append(out.fields, field{key, value})
			}
		}
	default:
		out.text, out.empty = n.Value, n.ShortTag() == "!!null"
	}
	return out
}
