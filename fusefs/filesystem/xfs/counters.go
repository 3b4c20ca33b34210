package xfs

import "vmsync/fusefs/filesystem"

// maxGroupsCounted bounds how many groups are asked for their free space when the
// filesystem is opened: 2^17 groups of 16 MiB, the least that mkfs makes, are 2 TiB, and
// larger filesystems have larger groups.
const maxGroupsCounted = 1 << 17

// What the allocator of the kernel keeps back in each group, in blocks, for its own trees.
const setAsidePerGroup = 8

// counters are the sums that the kernel keeps in memory for statfs(2).
type counters struct {
	inodes, inodesFree, blocksFree uint64
	// treeBlocks are blocks of the free space trees, which the kernel counts as free and
	// never gives away.
	treeBlocks uint64
}

// count takes the sums from the superblock, where they are right after an unmount. After
// a replay it asks every group, as the kernel does. Files can be read without.
func (f *fsys) count() {
	c := &f.counters
	*c = counters{inodes: f.sb.inodes, inodesFree: f.sb.inodesFree, blocksFree: f.sb.blocksFree}
	sums, err := f.sumGroups()
	if err != nil {
		f.notes = append(f.notes, "Free space may be wrong: "+err.Error()+".")
		return
	}
	if f.replayed || f.sb.v5 && f.sb.roCompat&roCompatReserves != 0 {
		c.treeBlocks = sums.treeBlocks
	}
	if f.replayed && f.sb.lazyCounters {
		*c = sums
	}
}

// sumGroups adds up what the headers of the groups say.
func (f *fsys) sumGroups() (counters, error) {
	var sums counters
	if f.sb.agCount > maxGroupsCounted {
		return sums, unsupported("%d groups", f.sb.agCount)
	}
	b := make([]byte, f.sb.sectorSize)
	for group := range f.sb.agCount {
		at := int64(uint64(group) * uint64(f.sb.agBlocks) << f.sb.blockLog)
		if err := f.readHeader(b, at+f.sb.sectorSize, "XAGF", agfCRC); err != nil {
			return sums, err
		}
		sums.blocksFree += uint64(be.Uint32(b[48:])) + uint64(be.Uint32(b[52:])) + uint64(be.Uint32(b[60:]))
		sums.treeBlocks += f.sb.freeTreeBlocks(b)
		if err := f.readHeader(b, at+2*f.sb.sectorSize, "XAGI", agiCRC); err != nil {
			return sums, err
		}
		sums.inodes += uint64(be.Uint32(b[16:]))
		sums.inodesFree += uint64(be.Uint32(b[28:]))
	}
	return sums, nil
}

// readHeader reads one of the sectors at the begin of a group.
func (f *fsys) readHeader(b []byte, at int64, magic string, crc int) error {
	if _, err := f.dev.ReadAt(b, at); err != nil {
		return err
	}
	if string(b[:4]) != magic || f.sb.v5 && !checksumOK(b, crc) {
		return corrupt("the group header %s at byte %d", magic, at)
	}
	return nil
}

// freeTreeBlocks is what the trees of free space of a group take up, besides their roots.
func (sb *superblock) freeTreeBlocks(agf []byte) uint64 {
	blocks := int64(be.Uint32(agf[60:]))
	if sb.v5 && sb.roCompat&roCompatRmap != 0 {
		// The sum holds the tree of owners too, but for its root.
		blocks -= int64(be.Uint32(agf[80:])) - 1
	}
	return uint64(max(blocks, 0))
}

// roCompatReserves are the features (finobt, rmapbt, reflink) for whose trees the kernel keeps
// blocks back: only then does it look into every group when it mounts.
const roCompatReserves = 0b111

// roCompatRmap is the bit of sb_features_ro_compat for a tree of the blocks' owners.
const roCompatRmap = 1 << 1

func (c *counters) fill(info *filesystem.Info, sb *superblock) {
	info.Blocks = sb.blocks
	if sb.logStart != 0 {
		info.Blocks -= min(info.Blocks, uint64(sb.logBlocks))
	}
	aside := uint64(sb.agCount)*setAsidePerGroup + c.treeBlocks
	info.Free = c.blocksFree - min(aside, c.blocksFree)
	const most = 1<<56 - 1 // inode numbers have 56 bits
	info.Files = min(c.inodes+info.Free<<sb.inodesLog, most)
	if sb.imaxPercent != 0 {
		// In whole chunks of inodes, the unit in which the kernel makes them.
		chunk := max(64>>sb.inodesLog, 1)
		limit := sb.blocks / 100 * uint64(sb.imaxPercent)
		limit += sb.blocks % 100 * uint64(sb.imaxPercent) / 100
		limit -= limit % uint64(chunk)
		info.Files = min(info.Files, limit<<sb.inodesLog)
	}
	info.Files = max(info.Files, c.inodes)
	used := c.inodes - min(c.inodes, c.inodesFree)
	info.FilesFree = info.Files - min(used, info.Files)
}
