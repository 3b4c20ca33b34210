package domainxml

import (
	"time"

	"github.com/beevik/etree"
)

// MarkNamespace is the XML namespace of the mark that a replica carries in its
// <metadata>.
const MarkNamespace = "https://vmsync/xmlns/replica/1.0"

const (
	markPrefix = "vmsync"
	markTag    = "replica"
)

// Mark tells people and vmsync what a domain on a target is. It is information
// only: what a store holds is decided by its manifest.
type Mark struct {
	Role       string    // "replica" until the domain is promoted
	Pair       string    // id of the pair
	Store      string    // folder of the replica
	SourceHost string    // as the user named it
	Checkpoint string    // of the state that the definition was made from
	Time       time.Time // of that checkpoint; kept to the second, in UTC
}

// SetMark puts the mark into the domain's metadata in place of any earlier one.
// Other programs' metadata stays.
func (d *Document) SetMark(m Mark) {
	d.RemoveMark()
	metadata := child(d.root, "metadata")
	if metadata == nil {
		metadata = etree.NewElement("metadata")
		after := child(d.root, "name")
		for _, tag := range []string{"uuid", "genid", "title", "description"} {
			if e := child(d.root, tag); e != nil {
				after = e
			}
		}
		if after != nil {
			insertAfter(after, metadata)
		} else {
			insertFirst(d.root, metadata)
		}
	}
	e := etree.NewElement(markPrefix + ":" + markTag)
	e.CreateAttr("xmlns:"+markPrefix, MarkNamespace)
	e.CreateAttr("role", m.Role)
	e.CreateAttr("pair", m.Pair)
	e.CreateAttr("store", m.Store)
	e.CreateAttr("source-host", m.SourceHost)
	e.CreateAttr("checkpoint", m.Checkpoint)
	e.CreateAttr("time", m.Time.UTC().Format(time.RFC3339))
	if len(metadata.ChildElements()) > 0 {
		insertFirst(metadata, e)
		return
	}
	if indent := indentOf(metadata); indent != "" {
		metadata.SetText(indent + "  ")
		metadata.AddChild(e)
		metadata.AddChild(etree.NewText(indent))
		return
	}
	metadata.AddChild(e)
}

// Mark returns the domain's mark. A time that cannot be read is zero.
func (d *Document) Mark() (Mark, bool) {
	e := d.mark()
	if e == nil {
		return Mark{}, false
	}
	m := Mark{
		Role:       e.SelectAttrValue("role", ""),
		Pair:       e.SelectAttrValue("pair", ""),
		Store:      e.SelectAttrValue("store", ""),
		SourceHost: e.SelectAttrValue("source-host", ""),
		Checkpoint: e.SelectAttrValue("checkpoint", ""),
	}
	if t, err := time.Parse(time.RFC3339, e.SelectAttrValue("time", "")); err == nil {
		m.Time = t
	}
	return m, true
}

// IsReplica tells whether a mark, which libvirt has returned as the text of its element, is
// that of a replica that was not promoted. Text that is no mark is not.
func IsReplica(element string) bool {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(element); err != nil {
		return false
	}
	e := doc.Root()
	// Libvirt leaves the namespace out, or keeps it as the element had it.
	return e != nil && e.Tag == markTag && e.SelectAttrValue("role", "") == "replica"
}

// RemoveMark removes the mark, and the metadata element if nothing is left in it.
func (d *Document) RemoveMark() {
	e := d.mark()
	if e == nil {
		return
	}
	metadata := e.Parent()
	remove(e)
	for _, t := range metadata.Child {
		if !isSpace(t) {
			return
		}
	}
	remove(metadata)
}

// mark finds the mark by its namespace, whatever the prefix: libvirt keeps the
// prefix, other tools need not.
func (d *Document) mark() *etree.Element {
	metadata := child(d.root, "metadata")
	if metadata == nil {
		return nil
	}
	for e := range metadata.ChildElementsSeq() {
		if e.Tag == markTag && e.NamespaceURI() == MarkNamespace {
			return e
		}
	}
	return nil
}
