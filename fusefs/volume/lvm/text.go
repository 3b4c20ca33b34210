package lvm

import (
	"fmt"
	"strconv"

	"vmsync/fusefs/filesystem"
)

// maxDepth bounds how deep sections lie in each other: real ones are 4 deep.
const maxDepth = 16

// section is a "name { ... }" of LVM's text format: values and further sections by their
// names, each in the order of the text.
type section struct {
	values   map[string][]value
	sections map[string]*section
	order    []string // names of sections
}

// value is a string or a number.
type value struct {
	text   string
	number int64
	isText bool
}

// text returns a value that is a single string, "" where there is none.
func (s *section) text(name string) string {
	if v := s.values[name]; len(v) == 1 && v[0].isText {
		return v[0].text
	}
	return ""
}

// number returns a value that is a single number of at least 0, or says that it is not.
func (s *section) number(name string) (int64, bool) {
	if v := s.values[name]; len(v) == 1 && !v[0].isText && v[0].number >= 0 {
		return v[0].number, true
	}
	return 0, false
}

// has says whether a list of strings contains what.
func (s *section) has(name, what string) bool {
	for _, v := range s.values[name] {
		if v.isText && v.text == what {
			return true
		}
	}
	return false
}

// parser reads the text format. Its memory is proportional to the text.
type parser struct {
	text  []byte
	at    int
	depth int
}

func parseText(text []byte) (*section, error) {
	p := &parser{text: text}
	root, err := p.section(true)
	if err != nil {
		return nil, fmt.Errorf("LVM metadata, at byte %d: %w: %w", p.at, err, filesystem.ErrCorrupt)
	}
	return root, nil
}

// section reads up to the closing brace, or up to the end of the text.
func (p *parser) section(outermost bool) (*section, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d sections in each other", maxDepth)
	}
	defer func() { p.depth-- }()
	s := &section{values: map[string][]value{}, sections: map[string]*section{}}
	for {
		switch c := p.next(); {
		case c == 0:
			if !outermost {
				return nil, fmt.Errorf("a section without an end")
			}
			return s, nil
		case c == '}' && !outermost:
			p.at++
			return s, nil
		}
		name := p.word()
		if name == "" {
			return nil, fmt.Errorf("no name")
		}
		switch p.next() {
		case '{':
			p.at++
			inner, err := p.section(false)
			if err != nil {
				return nil, err
			}
			if s.sections[name] != nil {
				return nil, fmt.Errorf("two sections %q", name)
			}
			s.sections[name] = inner
			s.order = append(s.order, name)
		case '=':
			p.at++
			values, err := p.values()
			if err != nil {
				return nil, err
			}
			s.values[name] = values
		default:
			return nil, fmt.Errorf("neither a section nor a value after %q", name)
		}
	}
}

// next skips spaces and comments, and returns what follows without taking it; 0 is the end.
func (p *parser) next() byte {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r':
			p.at++
		case '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
		default:
			return c
		}
	}
	return 0
}

// word takes letters, digits, and what else names are made of.
func (p *parser) word() string {
	start := p.at
	for p.at < len(p.text) && isWord(p.text[p.at]) {
		p.at++
	}
	return string(p.text[start:p.at])
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '+' || c == '/'
}

func (p *parser) values() ([]value, error) {
	if p.next() != '[' {
		v, err := p.value()
		return []value{v}, err
	}
	p.at++
	list := []value{}
	for p.next() != ']' {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch p.next() {
		case ',':
			p.at++
		case ']':
		default:
			return nil, fmt.Errorf("a list without an end")
		}
	}
	p.at++
	return list, nil
}

func (p *parser) value() (value, error) {
	if p.next() == '"' {
		text, err := p.quoted()
		return value{text: text, isText: true}, err
	}
	word := p.word()
	if word == "" {
		return value{}, fmt.Errorf("no value")
	}
	number, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return value{text: word, isText: true}, nil // a fraction, or a word without quotes
	}
	return value{number: number}, nil
}

// quoted takes a string, in which a backslash comes before quotes and backslashes.
func (p *parser) quoted() (string, error) {
	p.at++
	var out []byte
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '"':
			return string(out), nil
		case c == '\\' && p.at < len(p.text):
			c = p.text[p.at]
			p.at++
		}
		out = append(out, c)
	}
	return "", fmt.Errorf("a string without an end")
}
