package store

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// Sub-folders of a replica's folder.
const (
	imagesDir = "disks"
	indexDir  = "index"
	xmlDir    = "xml"
	nvramDir  = "nvram"
	tpmDir    = "tpm"
	runDir    = "run"
)

// folders are all of them.
func folders() []string { return []string{imagesDir, indexDir, xmlDir, nvramDir, tpmDir, runDir} }

// ImageName names the image that one generation brings for one disk.
func ImageName(disk string, generation int64) string {
	return fmt.Sprintf("%s/%s.%d.qcow2", imagesDir, disk, generation)
}

// IndexName names the block index of an image of [ImageName].
func IndexName(image string) string {
	return indexDir + "/" + strings.TrimSuffix(path.Base(image), ".qcow2") + ".idx"
}

// TempName names a file beside another one, which is to take its place.
func TempName(name string) string {
	return path.Dir(name) + "/.vmsync-tmp-" + path.Base(name)
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

// NVRAMName names the file that keeps one generation's UEFI variables.
func NVRAMName(generation int64) string {
	return fmt.Sprintf("%s/%d.fd", nvramDir, generation)
}

// TPMName names the file that keeps one generation's TPM state.
func TPMName(generation int64) string {
	return fmt.Sprintf("%s/%d.tar", tpmDir, generation)
}

// RunNVRAMName names the throw-away copy of the UEFI variables that the target's domain
// uses.
func RunNVRAMName(generation int64, serial int) string {
	return fmt.Sprintf("%s/nvram.%d-%d.fd", runDir, generation, serial)
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
var ours = regexp.MustCompile(`^(disks/[A-Za-z0-9]+\.[0-9]+\.qcow2|index/[A-Za-z0-9]+\.[0-9]+\.idx|run/[A-Za-z0-9]+\.[0-9]+-[0-9]+\.(qcow2|fd)|` +
	`xml/[0-9]+\.xml|nvram/[0-9]+\.fd|tpm/[0-9]+\.tar|([a-z]+/)?\.vmsync-tmp-.*)$`)
