package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/btrfs"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fat"
	"vmsync/fusefs/filesystem/ntfs"
	"vmsync/fusefs/filesystem/probe"
	"vmsync/fusefs/filesystem/xfs"
	"vmsync/fusefs/image"
	"vmsync/fusefs/volume"
)

// reads is the opener of real states.
type reads struct {
	openImages
	keys volume.Keys
}

// maxKey bounds the size of a key file, in bytes, as cryptsetup does.
const maxKey = 8 << 20

func newReads(o *Options) (opener, error) {
	r := &reads{openImages: openImages{image.NewCache(o.Cache)}}
	for _, name := range o.KeyFiles {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("key file: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxKey {
			return nil, fmt.Errorf("key file %s: not a file of at most %d bytes", name, maxKey)
		}
		key, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("key file: %w", err)
		}
		r.keys = append(r.keys, key)
		// A passphrase that was written with an editor ends in a line feed that is not part of it.
		if line := bytes.TrimSuffix(key, []byte("\n")); len(line) < len(key) {
			r.keys = append(r.keys, line)
		}
	}
	return r, nil
}

func (r *reads) findVolumes(disks []openDisk) ([]*foundVolume, error) {
	var in []volume.Disk
	for _, d := range disks {
		in = append(in, volume.Disk{Name: d.name, Device: d.device})
	}
	var found []*foundVolume
	for _, v := range volume.Find(in, r.keys) {
		f := &foundVolume{name: v.Name, kind: v.Kind, device: v.Device, err: v.Err}
		if f.kind == "" {
			f.kind = "unknown"
		}
		wholeDisk := slices.ContainsFunc(disks, func(d openDisk) bool { return d.name == v.Name })
		switch {
		case v.Number != 0:
			f.image = fmt.Sprintf("%s/%d.%s", v.Disk, v.Number, f.kind)
		case !wholeDisk || v.Encrypted:
			f.image = v.Name + "." + f.kind
		}
		found = append(found, f)
	}
	for _, f := range found {
		f.others = found
	}
	return found, nil
}

func (r *reads) openFilesystem(v *foundVolume) (filesystem.FS, error) {
	if errors.Is(v.err, volume.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", errEncrypted, v.err)
	}
	if v.err != nil {
		return nil, v.err
	}
	switch v.kind {
	case probe.Ext2, probe.Ext3, probe.Ext4:
		return ext.Open(v.device)
	case probe.XFS:
		return xfs.Open(v.device)
	case probe.Btrfs:
		members, err := btrfsMembers(v)
		if err != nil {
			return nil, err
		}
		return btrfs.Open(members...)
	case probe.VFAT:
		return fat.Open(v.device)
	case probe.NTFS:
		return ntfs.Open(v.device)
	case probe.LUKS, probe.BitLocker:
		return nil, fmt.Errorf("%w: %s", errEncrypted, v.kind)
	case "unknown":
		return nil, filesystem.ErrUnknown
	}
	return nil, fmt.Errorf("%w: %s", filesystem.ErrUnknown, v.kind)
}

// btrfsMembers gathers the devices of a btrfs that lies on several volumes, this one's
// first.
func btrfsMembers(v *foundVolume) ([]device.Device, error) {
	own, err := btrfs.Identify(v.device)
	if err != nil {
		return nil, err
	}
	members, seen := []device.Device{v.device}, map[uint64]bool{own.DeviceID: true}
	for _, other := range v.others {
		if other == v || other.kind != probe.Btrfs || other.device == nil {
			continue
		}
		id, err := btrfs.Identify(other.device)
		if err == nil && id.UUID == own.UUID && !seen[id.DeviceID] {
			members, seen[id.DeviceID] = append(members, other.device), true
		}
	}
	return members, nil
}
