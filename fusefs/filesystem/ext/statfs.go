package ext

import (
	"encoding/hex"
	"fmt"

	"vmsync/fusefs/filesystem"
)

// info makes what statfs(2) and blkid tell. It reads all group descriptors, but keeps none.
func (r *reader) info(replayed bool) filesystem.Info {
	sb := r.sb
	info := filesystem.Info{
		Type:      sb.kind(),
		Label:     sb.label,
		UUID:      formatUUID(sb.uuid),
		BlockSize: sb.blockSize,
		Files:     uint64(sb.inodes),
		NameMax:   255,
		Replayed:  replayed,
	}
	broken := 0
	for group := range sb.groups {
		d, err := r.descriptor(group)
		if err != nil {
			broken++
			continue
		}
		info.Free += d.freeClusters * sb.clusterBlocks
		info.FilesFree += d.freeInodes
	}
	overhead := sb.overhead
	if overhead == 0 || overhead > sb.blocks {
		overhead = r.countOverhead()
	}
	info.Blocks = sb.blocks - min(sb.blocks, overhead*sb.clusterBlocks)
	if broken > 0 {
		info.Notes = append(info.Notes, fmt.Sprintf("%d of %d group descriptors are damaged: what is in those groups cannot be read.", broken, sb.groups))
	}
	if sb.state&stateErrors != 0 {
		info.Notes = append(info.Notes, "The filesystem is marked as damaged: its system found errors, and wants it checked.")
	}
	if sb.state&stateValid == 0 {
		info.Notes = append(info.Notes, "The filesystem was not unmounted, and has no journal: what was written last may be missing, or there in part.")
	}
	if sb.has(incompatEncrypt) {
		info.Notes = append(info.Notes, "Encrypted files and directories cannot be shown.")
	}
	if sb.has(incompatCasefold) {
		info.Notes = append(info.Notes, "Names are matched exactly, also in directories that ignore case.")
	}
	return info
}

// countOverhead counts the clusters of metadata that the kernel leaves out of statfs(2)'s
// size, for filesystems whose mke2fs did not note them: superblocks, group descriptors,
// bitmaps and inode tables, and the journal.
func (r *reader) countOverhead() uint64 {
	sb := r.sb
	perBlock := uint64(sb.blockSize / sb.descSize)
	descBlocks := (sb.groups + perBlock - 1) / perBlock
	tables := (uint64(sb.inodesPerGroup)*uint64(sb.inodeSize) + uint64(sb.blockSize) - 1) >> sb.blockBits
	blocks := sb.firstDataBlock
	for group := range sb.groups {
		blocks += tables + 2 + sb.descriptorsIn(group, descBlocks)
		if sb.hasSuper(group) {
			blocks += 1 + sb.reservedDescs
		}
	}
	if sb.journalInode != 0 {
		if journal, err := r.anyInode(sb.journalInode); err == nil {
			blocks += uint64(journal.size) >> sb.blockBits
		}
	}
	return blocks / sb.clusterBlocks
}

// descriptorsIn returns how many of all blocks of group descriptors a group has a copy of.
func (sb *superblock) descriptorsIn(group, all uint64) uint64 {
	perBlock := uint64(sb.blockSize / sb.descSize)
	if sb.has(incompatMetaBG) && group/perBlock >= sb.firstMetaBG {
		if at := group % perBlock; at == 0 || at == 1 || at == perBlock-1 {
			return 1
		}
		return 0
	}
	if !sb.hasSuper(group) {
		return 0
	}
	if sb.has(incompatMetaBG) {
		return sb.firstMetaBG
	}
	return all
}

func formatUUID(u [16]byte) string {
	if u == [16]byte{} {
		return ""
	}
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
