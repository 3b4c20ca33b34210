package fusefs

import (
	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// opener reads disks: images, what is on them, and the filesystems there.
type opener interface {
	// openDisk opens an image with all that it lies over.
	openDisk(path string) (dev device.Device, done func() error, err error)
	// findVolumes finds what the disks of a state hold, which may span several.
	findVolumes([]openDisk) ([]*foundVolume, error)
	// openFilesystem opens what a volume holds. The error is one of package filesystem, or
	// says why it cannot be read, in words for the user.
	openFilesystem(*foundVolume) (filesystem.FS, error)
}

// foundVolume is something on the disks of a state that can hold a filesystem: a
// partition, a logical volume, or a whole disk without partitions.
type foundVolume struct {
	name   string        // under files/: "vda1", "vg0-root"
	image  string        // under disks/, without ".raw": "vda/1.ext4", "vg0-root.xfs"; empty for a whole disk
	kind   string        // what it holds, as in image: "ext4", "swap", "unknown"
	device device.Device // nil where err says why it cannot be read
	err    error

	others []*foundVolume // all of the state, as a filesystem may lie on several
}
