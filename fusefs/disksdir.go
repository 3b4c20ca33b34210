package fusefs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// rawSuffix ends the names of raw images.
const rawSuffix = ".raw"

// disksDir is the folder of a state's disks. Each disk, partition and logical volume is a
// file in it; those of a disk's partitions are in a folder of the disk's name.
type disksDir struct {
	place
	session *session
}

func (d *disksDir) attr() (filesystem.Attr, error) { return d.attributes(unix.S_IFDIR, 0), nil }

func (d *disksDir) list() ([]filesystem.Entry, error) {
	o, err := d.session.hold()
	if err != nil {
		return readmeEntries(err)
	}
	defer d.session.release()
	return o.rawEntries(""), nil
}

// rawEntries are the raw images in a folder below disks/, and the folders.
func (o *opened) rawEntries(folder string) []filesystem.Entry {
	var entries []filesystem.Entry
	if folder == "" {
		for _, disk := range o.disks {
			entries = append(entries, fileEntry(disk.name+rawSuffix))
		}
	}
	for _, v := range o.volumes {
		if v.image == "" || v.device == nil {
			continue
		}
		switch in, name, nested := strings.Cut(v.image, "/"); {
		case !nested && folder == "":
			entries = append(entries, fileEntry(v.image+rawSuffix))
		case nested && folder == in:
			entries = append(entries, fileEntry(name+rawSuffix))
		case nested && folder == "" && !slices.Contains(entries, folderEntry(in)):
			entries = append(entries, folderEntry(in))
		}
	}
	return entries
}

func (d *disksDir) lookup(name string) (any, error) {
	o, err := d.session.hold()
	if err != nil {
		return readmeIn(d.place, d.session, name, err)
	}
	defer d.session.release()
	at := place{path: d.path + "/" + name, mtime: d.mtime, still: true}
	if image, isRaw := strings.CutSuffix(name, rawSuffix); isRaw {
		if _, err := o.raw(image); err == nil {
			return &rawNode{at, d.session, image}, nil
		}
	}
	if len(o.rawEntries(name)) > 0 && name != "" {
		return &partitionsDir{at, d.session, name}, nil
	}
	return nil, filesystem.ErrNotExist
}

// raw returns the disk or volume of a raw image, by its path below disks/ without the
// suffix.
func (o *opened) raw(image string) (device.Device, error) {
	for _, v := range o.volumes {
		if v.image == image && image != "" && v.device != nil {
			return v.device, nil
		}
	}
	return o.disk(image)
}

// partitionsDir is the folder of a disk's partitions.
type partitionsDir struct {
	place
	session *session
	disk    string
}

func (d *partitionsDir) attr() (filesystem.Attr, error) { return d.attributes(unix.S_IFDIR, 0), nil }

func (d *partitionsDir) list() ([]filesystem.Entry, error) {
	o, err := d.session.hold()
	if err != nil {
		return nil, err
	}
	defer d.session.release()
	return o.rawEntries(d.disk), nil
}

func (d *partitionsDir) lookup(name string) (any, error) {
	o, err := d.session.hold()
	if err != nil {
		return nil, err
	}
	defer d.session.release()
	image, isRaw := strings.CutSuffix(name, rawSuffix)
	if !isRaw {
		return nil, filesystem.ErrNotExist
	}
	image = d.disk + "/" + image
	if _, err := o.raw(image); err != nil {
		return nil, err
	}
	return &rawNode{place{path: d.path + "/" + name, mtime: d.mtime, still: true}, d.session, image}, nil
}
