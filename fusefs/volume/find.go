package volume

import (
	"fmt"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem/probe"
	"vmsync/fusefs/volume/luks"
	"vmsync/fusefs/volume/lvm"
	"vmsync/fusefs/volume/md"
	"vmsync/fusefs/volume/partition"
)

// maxUnlock bounds how many encrypted volumes are tried with the keys: each may take minutes.
const maxUnlock = 32

// Find returns the volumes on a machine's disks: those of the disks in their order, then
// those of mirrors, then logical volumes by name. A disk without a partition table is a
// volume itself. Members of volume groups and mirrors are listed as well, by their kind; the
// parts of logical volumes are not. Keys may take time, seconds for each volume and key.
//
// The volumes' devices may be used by many goroutines at once, as long as the disks are open.
func Find(disks []Disk, keys Keys) []Volume {
	f := &finder{keys: keys, names: map[string]bool{}}
	for _, disk := range disks {
		f.disk(disk.Name, disk.Device, Volume{})
	}
	f.mirrors()
	f.logical()
	return f.volumes
}

type finder struct {
	keys     Keys
	names    map[string]bool
	unlocked int
	volumes  []Volume
	members  []md.Member
	physical []lvm.Physical
}

// disk adds what is on a disk, or on a mirror, which may be partitioned as well; about is
// what is known of the whole.
func (f *finder) disk(name string, d device.Device, about Volume) {
	about.Name, about.Disk, about.Device = name, name, d
	kind, err := probe.Kind(d)
	if err != nil {
		about.Err = err
		f.content(about)
		return
	}
	table, err := partition.Read(d)
	whole := len(table.Partitions) == 0 || kind == probe.LUKS || (kind == probe.RAID && !hasMember(d, table))
	switch {
	case whole && err != nil && kind == "":
		about.Err = err
		f.content(about)
		return
	case whole:
		f.content(about)
		return
	case kind == probe.ISO9660:
		f.content(about) // an image for discs that sticks can be booted from too
	}
	f.names[name] = true // no volume, but partitions go by it
	for _, p := range table.Partitions {
		f.partition(name, d, p)
	}
}

// hasMember says whether a partition is a member of a mirror. A superblock at the end of
// the last partition is at the end of its disk, too.
func hasMember(d device.Device, table partition.Table) bool {
	for _, p := range table.Partitions {
		if p.Err != nil {
			continue
		}
		part, err := device.Section(d, p.Start, p.Length)
		if err != nil {
			continue
		}
		if kind, err := probe.Kind(part); err == nil && kind == probe.RAID {
			return true
		}
	}
	return false
}

func (f *finder) partition(disk string, d device.Device, p partition.Partition) {
	v := Volume{
		Name: partitionName(disk, p.Number), Disk: disk, Number: p.Number,
		Label: p.Name, UUID: p.UUID, TypeName: p.TypeName, Err: p.Err,
	}
	if v.Err == nil {
		v.Device, v.Err = device.Section(d, p.Start, p.Length)
	}
	f.content(v)
}

// content finds out what a volume's device holds, opens it where it is encrypted, and adds
// the volume.
func (f *finder) content(v Volume) {
	v.Name = f.unique(v.Name)
	if v.Err == nil {
		v.Kind, v.Err = probe.Kind(v.Device)
	}
	if v.Err == nil && v.Kind == probe.LUKS {
		f.unlock(&v)
	}
	switch {
	case v.Err != nil:
	case v.Kind == probe.LVM:
		f.physical = append(f.physical, lvm.Physical{Name: v.Name, Device: v.Device})
	case v.Kind == probe.RAID:
		f.members = append(f.members, md.Member{Name: v.Name, Device: v.Device})
	}
	f.add(v)
}

// add lists a volume, whose device is there only where it can be read.
func (f *finder) add(v Volume) {
	if v.Err != nil {
		v.Device = nil
	}
	f.volumes = append(f.volumes, v)
}

func (f *finder) unlock(v *Volume) {
	header, err := luks.Read(v.Device)
	if err != nil {
		v.Err = err
		return
	}
	if len(f.keys) > 0 {
		if f.unlocked++; f.unlocked > maxUnlock {
			v.Err = fmt.Errorf("%w, but %d volumes before were encrypted, too", ErrLocked, maxUnlock)
			return
		}
	}
	opened, err := header.Open(f.keys)
	if err != nil {
		v.Err = err
		return
	}
	v.Encrypted, v.Device = true, opened
	if v.Kind, v.Err = probe.Kind(opened); v.Err == nil && v.Kind == probe.LUKS {
		v.Err = fmt.Errorf("encrypted twice: %w", ErrLocked)
	}
}

// mirrors adds the arrays that the members found so far make, and what is on them. Arrays
// of arrays are not looked for.
func (f *finder) mirrors() {
	members := f.members
	arrays, errs := md.Find(members)
	f.fail(errs)
	for _, a := range arrays {
		name := a.Name
		if name == "" {
			name = a.UUID
		}
		name = f.free(fileName("md-" + name))
		if a.Err != nil {
			f.content(Volume{Name: name, UUID: a.UUID, Err: a.Err})
			continue
		}
		f.disk(name, a.Device, Volume{UUID: a.UUID})
	}
}

// logical adds logical volumes. Physical volumes on logical ones are not looked for, as LVM
// does not by itself.
func (f *finder) logical() {
	volumes, errs := lvm.Find(f.physical)
	f.fail(errs)
	for _, lv := range volumes {
		f.content(Volume{Name: mapperName(lv.Group, lv.Name), UUID: lv.UUID, Device: lv.Device, Err: lv.Err})
	}
}

// fail gives errors to the volumes they are about.
func (f *finder) fail(errs map[string]error) {
	for i := range f.volumes {
		if err := errs[f.volumes[i].Name]; err != nil {
			f.volumes[i].Err, f.volumes[i].Device = err, nil
		}
	}
}
