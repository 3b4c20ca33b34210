package btrfs

import (
	"encoding/binary"
	"fmt"

	"vmsync/fusefs/filesystem"
)

// Everything on a btrfs is little endian.
var le = binary.LittleEndian

// Objects of the root tree, and other reserved numbers ([format], "Reserved objectids").
const (
	treeExtent     = 2
	treeTop        = 5 // the subvolume that mkfs makes
	treeCsum       = 7
	treeBlockGroup = 11

	objectFirstChunk = 256
	objectFirstFree  = 256          // the lowest number of a file or a subvolume
	objectLastFree   = ^uint64(255) // -256, the highest
	objectCsums      = ^uint64(9)   // -10
	objectTreeLog    = ^uint64(5)   // -6
)

// Kinds of items, the second part of a key ([format], "Item types").
const (
	kindInodeItem   = 1
	kindInodeRef    = 12
	kindInodeExtref = 13
	kindXattr       = 24
	kindDirLogIndex = 72
	kindDirItem     = 84
	kindDirIndex    = 96
	kindExtentData  = 108
	kindExtentCsum  = 128
	kindRootItem    = 132
	kindRootRef     = 156
	kindBlockGroup  = 192
	kindChunk       = 228
)

// Feature bits that a reader has to know (incompat_flags of the superblock).
const (
	featureNoHoles       = 1 << 9
	featureMetadataUUID  = 1 << 10
	compatBlockGroupTree = 1 << 3 // in compat_ro_flags
)

// knownFeatures are the incompat bits that this package reads; it refuses all others.
const knownFeatures = 1<<0 | // mixed back references
	1<<1 | // default subvolume
	1<<2 | // mixed groups
	1<<3 | 1<<4 | // compression by LZO and Zstandard
	1<<5 | // nodes larger than a page
	1<<6 | // extended inode references
	1<<7 | // RAID5 and RAID6
	1<<8 | // skinny metadata
	featureNoHoles | featureMetadataUUID |
	1<<11 | // RAID1 of three and four copies
	1<<16 // simple quotas

// unsupportedFeatures are named where they are refused.
var unsupportedFeatures = map[int]string{
	12: "zoned", 13: "extent-tree-v2", 14: "raid-stripe-tree", 17: "remap-tree",
}

// corrupt is an error of what is on the device.
func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, filesystem.ErrCorrupt)...)
}

// unsupported is an error of what this package does not read.
func unsupported(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, filesystem.ErrUnsupported)...)
}
