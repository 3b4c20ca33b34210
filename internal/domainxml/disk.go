package domainxml

import (
	"fmt"

	"github.com/beevik/etree"
)

// Disk is what a <disk> element says about itself.
type Disk struct {
	Name   string // target device, e.g. "vda"
	Bus    string // "virtio", "sata", …
	Device string // "disk", "cdrom", "floppy" or "lun"
	Type   string // of the source: "file", "block", "network", "volume", …
	Format string // of the image, as the XML claims: "qcow2", "raw", …
	Path   string // file or block device of the source; "" for other types and empty drives
	Serial string

	HasSource bool // false for an empty drive
	ReadOnly  bool
	Shareable bool
	Transient bool
	Encrypted bool // libvirt or qemu decrypts the image
	// DataFile is set when the image keeps its data in a second file.
	DataFile bool
}

// Removable says whether the drive takes media, so that it may be empty.
func (d Disk) Removable() bool { return d.Device == "cdrom" || d.Device == "floppy" }

// Disks returns the domain's disks in the order of the XML. Disks without a target
// device, which libvirt does not accept, are left out.
func (d *Document) Disks() []Disk {
	var disks []Disk
	for _, e := range d.diskElements() {
		disks = append(disks, readDisk(e))
	}
	return disks
}

func readDisk(e *etree.Element) Disk {
	disk := Disk{
		Name:      diskName(e),
		Bus:       child(e, "target").SelectAttrValue("bus", ""),
		Device:    e.SelectAttrValue("device", "disk"),
		Type:      e.SelectAttrValue("type", "file"),
		Serial:    childText(e, "serial"),
		ReadOnly:  child(e, "readonly") != nil,
		Shareable: child(e, "shareable") != nil,
		Transient: child(e, "transient") != nil,
		Encrypted: child(e, "encryption") != nil,
	}
	if driver := child(e, "driver"); driver != nil {
		disk.Format = driver.SelectAttrValue("type", "")
	}
	if source := child(e, "source"); source != nil {
		disk.HasSource = true
		disk.Encrypted = disk.Encrypted || child(source, "encryption") != nil
		disk.DataFile = child(source, "dataStore") != nil
		switch disk.Type {
		case "file":
			disk.Path = source.SelectAttrValue("file", "")
			disk.HasSource = disk.Path != ""
		case "block":
			disk.Path = source.SelectAttrValue("dev", "")
			disk.HasSource = disk.Path != ""
		}
	}
	return disk
}

// UseImage points a disk at a qcow2 file, whatever its source was. The chain below
// the old source, a running copy job, and everything that belongs to the old source
// alone (its host, secrets, encryption, labels) go; the rest of the disk stays:
// target, bus, address, serial, boot order, cache mode, tuning.
//
// Encryption goes because a backup reads a disk decrypted: the replica's image is
// in the clear.
func (d *Document) UseImage(name, path string) error { return d.UseFile(name, path, "qcow2") }

// UseFile is [Document.UseImage] for a file of any format.
func (d *Document) UseFile(name, path, format string) error {
	e := d.disk(name)
	if e == nil {
		return fmt.Errorf("domain XML has no disk %s", name)
	}
	e.CreateAttr("type", "file")
	removeAll(e, "backingStore", "mirror", "auth", "encryption", "privateData")

	driver := child(e, "driver")
	if driver == nil {
		driver = insertFirst(e, etree.NewElement("driver"))
		driver.CreateAttr("name", "qemu")
	}
	driver.CreateAttr("type", format)

	removeAll(e, "source")
	source := etree.NewElement("source")
	source.CreateAttr("file", path)
	insertAfter(driver, source)
	return nil
}

// Eject takes the medium out of a cdrom or floppy drive and keeps the drive.
func (d *Document) Eject(name string) error {
	e := d.disk(name)
	if e == nil {
		return fmt.Errorf("domain XML has no disk %s", name)
	}
	if !readDisk(e).Removable() {
		return fmt.Errorf("disk %s is not a drive for removable media", name)
	}
	// An empty drive is of type file: a network or volume source cannot be absent.
	e.CreateAttr("type", "file")
	removeAll(e, "source", "backingStore", "mirror", "auth", "encryption", "privateData")
	return nil
}

// RemoveDisk removes a disk's element. It does nothing if there is none.
func (d *Document) RemoveDisk(name string) {
	if e := d.disk(name); e != nil {
		remove(e)
	}
}

func (d *Document) disk(name string) *etree.Element {
	for _, e := range d.diskElements() {
		if diskName(e) == name {
			return e
		}
	}
	return nil
}

func (d *Document) diskElements() []*etree.Element {
	devices := child(d.root, "devices")
	if devices == nil {
		return nil
	}
	var disks []*etree.Element
	for _, e := range children(devices, "disk") {
		if diskName(e) != "" {
			disks = append(disks, e)
		}
	}
	return disks
}

func diskName(disk *etree.Element) string {
	if target := child(disk, "target"); target != nil {
		return target.SelectAttrValue("dev", "")
	}
	return ""
}
