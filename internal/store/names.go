package store

import (
	"fmt"
	"regexp"
	"time"
)

// Sub-folders of a replica's folder.
const (
	imagesDir = "disks"
	xmlDir    = "xml"
	runDir    = "run"
)

// ImageName names the image that one generation brings for one disk.
func ImageName(disk string, generation int64) string {
	return fmt.Sprintf("%s/%s.%d.qcow2", imagesDir, disk, generation)
}

// RunName names a run overlay of one disk. A run overlay is never rewritten in
// place, so that one in use is never pulled from under its qemu; serial tells
// those of one generation apart.
func RunName(disk string, generation int64, serial int) string {
	return fmt.Sprintf("%s/%s.%d-%d.qcow2", runDir, disk, generation, serial)
}

// XMLName names the file that keeps one generation's domain XML.
func XMLName(generation int64) string {
	return fmt.Sprintf("%s/%d.xml", xmlDir, generation)
}

// StateID names a new state by the instant of its checkpoint, in UTC. Of two
// states in one second (or after a clock was set back) the later one's name ends
// in its generation, so that no two states of a replica bear one name.
func (m *Manifest) StateID(t time.Time, generation int64) string {
	id := t.UTC().Format("2006-01-02T150405Z")
	for _, s := range m.States {
		if s.ID == id {
			return fmt.Sprintf("%s-%d", id, generation)
		}
	}
	return id
}

// ours matches every name that the functions above give, and the temporary
// files of [Folder.Save] and [Folder.WriteFile]. Debris is only what bears such
// a name: a file that somebody else put into the folder is left alone.
var ours = regexp.MustCompile(`^(disks/[A-Za-z0-9]+\.[0-9]+\.qcow2|run/[A-Za-z0-9]+\.[0-9]+-[0-9]+\.qcow2|xml/[0-9]+\.xml|(xml/)?\.vmsync-tmp-.*)$`)
