package domainxml

import (
	"strings"

	"github.com/beevik/etree"
)

// child returns the first child element of that tag without a namespace prefix.
// (etree's own SelectElement takes any prefix.)
func child(e *etree.Element, tag string) *etree.Element {
	for c := range e.ChildElementsSeq() {
		if c.Space == "" && c.Tag == tag {
			return c
		}
	}
	return nil
}

// children returns all such child elements.
func children(e *etree.Element, tag string) []*etree.Element {
	var found []*etree.Element
	for c := range e.ChildElementsSeq() {
		if c.Space == "" && c.Tag == tag {
			found = append(found, c)
		}
	}
	return found
}

func childText(e *etree.Element, tag string) string {
	if c := child(e, tag); c != nil {
		return trim(c.Text())
	}
	return ""
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// remove takes e out of its parent, with the white space that indents it.
func remove(e *etree.Element) {
	parent, i := e.Parent(), e.Index()
	parent.RemoveChildAt(i)
	if i > 0 {
		if isSpace(parent.Child[i-1]) {
			parent.RemoveChildAt(i - 1)
		}
	}
}

// removeAll removes the child elements of these tags.
func removeAll(e *etree.Element, tags ...string) {
	for _, tag := range tags {
		for _, c := range children(e, tag) {
			remove(c)
		}
	}
}

// insertAfter puts added behind its new sibling, indented like it.
func insertAfter(sibling, added *etree.Element) *etree.Element {
	parent, i := sibling.Parent(), sibling.Index()
	if space := indentOf(sibling); space != "" {
		parent.InsertChildAt(i+1, etree.NewText(space))
		i++
	}
	parent.InsertChildAt(i+1, added)
	return added
}

// insertFirst puts added before parent's first child element, indented like it.
func insertFirst(parent, added *etree.Element) *etree.Element {
	for c := range parent.ChildElementsSeq() {
		space := indentOf(c)
		i := c.Index()
		parent.InsertChildAt(i, added)
		if space != "" {
			parent.InsertChildAt(i+1, etree.NewText(space))
		}
		return added
	}
	parent.AddChild(added)
	return added
}

// indentOf returns the white space before e.
func indentOf(e *etree.Element) string {
	if i := e.Index(); i > 0 {
		if before := e.Parent().Child[i-1]; isSpace(before) {
			return before.(*etree.CharData).Data
		}
	}
	return ""
}

// isSpace looks at the text itself: etree's flag is set only on what was parsed.
func isSpace(t etree.Token) bool {
	text, ok := t.(*etree.CharData)
	return ok && !text.IsCData() && trim(text.Data) == ""
}
