// Package domainxml makes the few edits that turn a source's domain XML into a
// replica's, and reads what the ends need to know of a domain's disks.
//
// Everything it does not change it keeps: elements and attributes it has never
// heard of, namespaces, comments and white space. That is why it edits a tree of
// tokens and never decodes the XML into structs, which would drop what they do not
// model. It is pure: it must never open a file or talk to libvirt.
package domainxml

import (
	"errors"
	"fmt"

	"github.com/beevik/etree"
)

// MaxSize bounds the XML that Parse takes, in bytes. Libvirt's own limit for a
// string over its wire protocol is 4 MiB.
const MaxSize = 4 << 20

// Document is one domain's XML. It is not safe for use by several goroutines.
type Document struct {
	doc  *etree.Document
	root *etree.Element // <domain>
}

// Parse reads domain XML, which may come from another host and is not trusted.
func Parse(xml string) (*Document, error) {
	if len(xml) > MaxSize {
		return nil, fmt.Errorf("domain XML of %d bytes is larger than %d", len(xml), MaxSize)
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{PreserveCData: true}
	// Canonical means here: character references where a parser would otherwise
	// change the value (a line feed in an attribute becomes a space).
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	if err := doc.ReadFromString(xml); err != nil {
		return nil, fmt.Errorf("domain XML: %w", err)
	}
	if err := checkTopLevel(doc); err != nil {
		return nil, fmt.Errorf("domain XML: %w", err)
	}
	root := doc.Root()
	if root == nil || root.Space != "" || root.Tag != "domain" {
		return nil, errors.New("domain XML: the root element is not <domain>")
	}
	return &Document{doc: doc, root: root}, nil
}

// checkTopLevel refuses what the parser lets through outside the root element.
func checkTopLevel(doc *etree.Document) error {
	roots := 0
	for _, t := range doc.Child {
		switch t := t.(type) {
		case *etree.Element:
			roots++
		case *etree.CharData:
			if !isSpace(t) {
				return errors.New("text outside the root element")
			}
		case *etree.Directive:
			// A document type could define entities, which libvirt would expand and we
			// would not: what we checked would not be what runs.
			return errors.New("a document type, which libvirt never writes")
		}
	}
	if roots != 1 {
		return fmt.Errorf("%d root elements", roots)
	}
	return nil
}

// String returns the edited XML.
func (d *Document) String() (string, error) {
	s, err := d.doc.WriteToString()
	if err != nil {
		return "", fmt.Errorf("write domain XML: %w", err)
	}
	return s, nil
}

// Name returns the domain's name.
func (d *Document) Name() string { return childText(d.root, "name") }

// SetName sets the domain's name.
func (d *Document) SetName(name string) {
	e := child(d.root, "name")
	if e == nil {
		e = insertFirst(d.root, etree.NewElement("name"))
	}
	e.SetText(name)
}

// UUID returns the domain's UUID, "" if it has none.
func (d *Document) UUID() string { return childText(d.root, "uuid") }

// SetUUID sets or replaces the domain's UUID. With "" it removes it, so that
// libvirt makes up a new one.
//
// An UUID that <sysinfo> shows to the guest must equal the domain's, or libvirt
// refuses the XML; it is changed too.
func (d *Document) SetUUID(uuid string) {
	for _, info := range children(d.root, "sysinfo") {
		if system := child(info, "system"); system != nil {
			for _, e := range children(system, "entry") {
				if e.SelectAttrValue("name", "") != "uuid" {
					continue
				}
				if uuid == "" {
					remove(e)
				} else {
					e.SetText(uuid)
				}
			}
		}
	}
	e := child(d.root, "uuid")
	switch {
	case uuid == "" && e != nil:
		remove(e)
	case uuid == "":
	case e != nil:
		e.SetText(uuid)
	default:
		e = etree.NewElement("uuid")
		e.SetText(uuid)
		if name := child(d.root, "name"); name != nil {
			insertAfter(name, e)
		} else {
			insertFirst(d.root, e)
		}
	}
}

// NVRAM returns the path of the file with the domain's UEFI variables; "" if it
// has none, or none that is a local file.
func (d *Document) NVRAM() string {
	e := d.nvram()
	if e == nil {
		return ""
	}
	if source := child(e, "source"); source != nil {
		return source.SelectAttrValue("file", "")
	}
	return trim(e.Text())
}

// HasNVRAM says whether the domain keeps UEFI variables, in a file or elsewhere.
func (d *Document) HasNVRAM() bool { return d.nvram() != nil }

// SetNVRAM points the domain's UEFI variables at path and returns the path they
// had. It does nothing and says false if the domain has no <nvram>.
func (d *Document) SetNVRAM(path string) (old string, ok bool) {
	e := d.nvram()
	if e == nil {
		return "", false
	}
	old = d.NVRAM()
	for _, source := range children(e, "source") {
		remove(source)
	}
	if e.SelectAttr("type") == nil {
		e.SetText(path)
		return old, true
	}
	// The newer form, <nvram type='…'><source …/></nvram>.
	e.SetText("")
	e.CreateAttr("type", "file")
	e.CreateElement("source").CreateAttr("file", path)
	return old, true
}

// RemoveNVRAM has libvirt make fresh UEFI variables, from its template, where the domain
// has any.
func (d *Document) RemoveNVRAM() {
	if e := d.nvram(); e != nil {
		remove(e)
	}
}

// Distinguish takes out what must be another in a copy that runs beside the domain, so that
// libvirt makes it up anew: the network cards' addresses and the generation id. Name and
// UUID are the caller's to set.
func (d *Document) Distinguish() {
	if devices := child(d.root, "devices"); devices != nil {
		for _, e := range children(devices, "interface") {
			removeAll(e, "mac")
		}
	}
	if e := child(d.root, "genid"); e != nil {
		e.SetText("")
	}
}

func (d *Document) nvram() *etree.Element {
	if os := child(d.root, "os"); os != nil {
		return child(os, "nvram")
	}
	return nil
}
