package replicator

import (
	"maps"
	"slices"

	"vmsync/internal/domainxml"
)

// lostParent is the head's checkpoint as a parent when libvirt does not know it any
// more. Its bitmaps may well be there, and tell what changed since the head; whether
// they are, and on which disks, shows when the source tries ([BeginRequest] Adopt).
func lostParent(head *Head) *SourceCheckpoint {
	c := &SourceCheckpoint{Name: head.Checkpoint, Generation: head.Generation}
	for _, d := range head.Disks {
		c.Disks = append(c.Disks, d.Name)
	}
	return c
}

// adoptParent notes that the plan's parent is none of the checkpoints that libvirt
// knows.
func (p *Plan) adoptParent(known []SourceCheckpoint) {
	if p.Parent != "" && !slices.ContainsFunc(known, func(c SourceCheckpoint) bool { return c.Name == p.Parent }) {
		p.Adopt = []string{p.Parent}
	}
}

// SourceImages returns, by disk, the path of its image in a domain's definition. A
// definition that cannot be read has none.
func SourceImages(domainXML string) map[string]string {
	doc, err := domainxml.Parse(domainXML)
	if err != nil {
		return nil
	}
	images := make(map[string]string)
	for _, d := range doc.Disks() {
		if d.Path != "" {
			images[d.Name] = d.Path
		}
	}
	return images
}

// formerOwner is the other disk whose image, when the head was made, was the one that
// d has now; "" if there is none. Bitmaps have the names of checkpoints, the same on
// every disk, so that those of disks that changed places look right and are not.
func formerOwner(d SourceDisk, head *Head) string {
	if d.Path == "" || head.Images[d.Name] == d.Path {
		return ""
	}
	for _, other := range slices.Sorted(maps.Keys(head.Images)) {
		if other != d.Name && head.Images[other] == d.Path {
			return other
		}
	}
	return ""
}
