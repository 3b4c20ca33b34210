package btrfs

import "vmsync/fusefs/filesystem"

// Info implements filesystem.FS. Sizes are those of statfs(2) but for what the kernel
// sets aside for its own metadata (the global reserve, at most 512 MiB), which depends on
// more than the disk: here it counts as free.
func (r *reader) Info() filesystem.Info {
	factor := uint64(1)
	for _, c := range r.volume.chunks {
		if c.flags&groupData != 0 {
			factor = max(factor, c.factor())
		}
	}
	block := uint64(r.super.sectorSize)
	info := filesystem.Info{
		Type: "btrfs", Label: r.label, UUID: r.super.uuid(), NameMax: maxName,
		BlockSize: int64(block), Blocks: r.super.totalBytes / factor / block,
		Replayed: r.super.logRoot.at != 0, Notes: r.notes,
	}
	used, err := r.diskUsed()
	if err != nil {
		used = r.super.usedBytes * factor
	}
	if used := used / factor / block; used < info.Blocks {
		info.Free = info.Blocks - used
	}
	return info
}

// countDiskUsed returns how many bytes of the devices are in use, each copy for itself.
// The superblock has the sum without copies; of the block groups, only those of metadata
// are looked up, which are few.
func (r *reader) countDiskUsed() (uint64, error) {
	groups, kind := uint64(treeExtent), uint8(kindBlockGroup)
	if r.super.compatRO&compatBlockGroupTree != 0 {
		groups = treeBlockGroup
	}
	t, err := r.systemTree(groups)
	if err != nil {
		return 0, err
	}
	data, disk, factor := r.super.usedBytes, uint64(0), uint64(1)
	for _, c := range r.volume.chunks {
		if c.flags&groupData != 0 {
			factor = max(factor, c.factor())
			continue
		}
		item, ok, err := t.get(key{c.start, kind, c.length})
		if err != nil {
			return 0, err
		}
		if !ok || len(item) < 8 {
			return 0, corrupt("block group %d is missing", c.start)
		}
		used := min(le.Uint64(item), data)
		data -= used
		disk += used * c.factor()
	}
	return disk + data*factor, nil
}
