package probe

import (
	"encoding/binary"
	"math/bits"
)

var le, be = binary.LittleEndian, binary.BigEndian

// kinds are asked in this order, each for the name of what it knows. Members and encrypted
// devices come before filesystems, whose old superblocks they may leave in place.
var kinds = []func(*contents) string{
	lvm, luks, bitlocker, otherMember,
	swap, xfs, ext, btrfs, microsoft, vfat, optical,
	f2fs, bcachefs, zfs, squashfs, ufs, otherFilesystem,
}

func lvm(c *contents) string {
	// A label lies in one of the first four sectors, and names its sector.
	for sector := range 4 {
		off := sector * 512
		if c.is(off, "LABELONE") && c.is(off+24, "LVM2 001") && le.Uint64(c.at(off+8, 8)) == uint64(sector) {
			return LVM
		}
	}
	return ""
}

func luks(c *contents) string {
	if version := be.Uint16(c.at(6, 2)); c.is(0, "LUKS\xba\xbe") && (version == 1 || version == 2) {
		return LUKS
	}
	// The second header of version 2 follows the first, whose size is one of these.
	for size := 16 << 10; size <= 64<<10; size *= 2 {
		if c.is(size, "SKUL\xba\xbe") && be.Uint16(c.at(size+6, 2)) == 2 && be.Uint64(c.at(size+256, 8)) == uint64(size) {
			return LUKS
		}
	}
	return ""
}

func bitlocker(c *contents) string {
	if c.is(3, "-FVE-FS-") || (c.is(3, "MSWIN4.1") && c.is(424, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01")) {
		return BitLocker
	}
	return ""
}

// otherMember knows what is part of something larger, or holds another thing's state.
func otherMember(c *contents) string {
	switch {
	case c.is(0, "SnAp") && le.Uint32(c.at(8, 4)) == 1:
		return SnapshotCOW
	case c.is(4096+24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"):
		return "bcache"
	case c.is(0, "dmvdo001"):
		return "vdo"
	case c.is(0, "verity\x00\x00"):
		return "DM_verity_hash"
	case c.is(0, "integrt\x00"):
		return "DM_integrity"
	case c.is(0, "bluestore block device"):
		return "ceph_bluestore"
	case c.is(512, "!Stra0tis\x86\xff\x02^\x41rh"):
		return "stratis"
	}
	return ""
}

// swap's signature ends its first page, whose size is that of the machine's memory.
func swap(c *contents) string {
	for page := 4 << 10; page <= 64<<10; page *= 2 {
		at := page - 10
		switch {
		case c.is(at, "SWAPSPACE2"):
			if version := c.at(1024, 4); le.Uint32(version) == 1 || be.Uint32(version) == 1 {
				return Swap
			}
		case c.is(at, "SWAP-SPACE"):
			return Swap
		case c.is(at, "S1SUSPEND"), c.is(at, "S2SUSPEND"), c.is(at, "ULSUSPEND"), c.is(at, "LINHIB0001"):
			return "swsuspend"
		}
	}
	return ""
}

func xfs(c *contents) string {
	block, sector := be.Uint32(c.at(4, 4)), uint32(be.Uint16(c.at(102, 2)))
	if c.is(0, "XFSB") && powerOfTwo(block, 512, 64<<10) && powerOfTwo(sector, 512, 32<<10) {
		return XFS
	}
	return ""
}

// ext tells the three apart by their features as libblkid does.
func ext(c *contents) string {
	const (
		hasJournal = 0x4 // compatible
		journalDev = 0x8 // incompatible
		// What ext2 and ext3 know of incompatible and read-only compatible features.
		incompat2, incompat3, roCompat = 0x2 | 0x10, 0x2 | 0x4 | 0x10, 0x1 | 0x2 | 0x4
	)
	sb := c.at(1024, 1024)
	if le.Uint16(sb[0x38:]) != 0xef53 || le.Uint32(sb[0x18:]) > 6 || le.Uint32(sb[0:]) == 0 || le.Uint32(sb[0x28:]) == 0 {
		return ""
	}
	compat, incompat, ro := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	if le.Uint32(sb[0x4c:]) == 0 { // the first revision has no features
		compat, incompat, ro = 0, 0, 0
	}
	switch {
	case incompat&journalDev != 0:
		return "jbd"
	case compat&hasJournal == 0 && incompat&^incompat2 == 0 && ro&^roCompat == 0:
		return Ext2
	case compat&hasJournal != 0 && incompat&^incompat3 == 0 && ro&^roCompat == 0:
		return Ext3
	}
	return Ext4
}

func btrfs(c *contents) string {
	sb := c.at(64<<10, 4096)
	if string(sb[0x40:0x48]) == "_BHRfS_M" && le.Uint64(sb[0x30:]) == 64<<10 && powerOfTwo(le.Uint32(sb[0x90:]), 512, 64<<10) {
		return Btrfs
	}
	return ""
}

func f2fs(c *contents) string {
	if exponent := le.Uint32(c.at(1024+16, 4)); le.Uint32(c.at(1024, 4)) == 0xf2f52010 && exponent >= 12 && exponent <= 16 {
		return "f2fs"
	}
	return ""
}

func bcachefs(c *contents) string {
	magic := c.at(4096+24, 16)
	if string(magic) == "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef" {
		return "bcachefs"
	}
	return ""
}

// zfs labels a device 16 KiB from its start with a list of names and values in XDR, whose
// first is the version.
func zfs(c *contents) string {
	list := c.at(16<<10, 64)
	if list[0] == 1 && be.Uint32(list[20:]) == 7 && string(list[24:31]) == "version" {
		return "zfs_member"
	}
	return ""
}

func squashfs(c *contents) string {
	block := le.Uint32(c.at(12, 4))
	if c.is(0, "hsqs") && le.Uint16(c.at(28, 2)) == 4 && powerOfTwo(block, 4096, 1<<20) {
		return "squashfs"
	}
	return ""
}

func ufs(c *contents) string {
	for _, at := range []int{8 << 10, 64 << 10, 0} {
		for _, order := range []binary.ByteOrder{le, be} {
			switch order.Uint32(c.at(at+1372, 4)) {
			case 0x00011954, 0x19540119:
				if powerOfTwo(order.Uint32(c.at(at+48, 4)), 4096, 64<<10) {
					return "ufs"
				}
			}
		}
	}
	return ""
}

// optical looks at the first of the descriptors that begin at 32 KiB.
func optical(c *contents) string {
	const first = 32 << 10
	if c.is(first, "\x01CD001\x01") {
		return ISO9660
	}
	for at := first; at < first+8*2048; at += 2048 {
		if c.is(at+1, "NSR02") || c.is(at+1, "NSR03") {
			return UDF
		}
		if !c.is(at+1, "BEA01") && !c.is(at+1, "BOOT2") && !c.is(at+1, "CD001") {
			return ""
		}
	}
	return ""
}

func otherFilesystem(c *contents) string {
	switch {
	case c.is(32<<10, "JFS1"):
		return "jfs"
	case c.is(64<<10+52, "ReIsEr2Fs"), c.is(64<<10+52, "ReIsErFs"), c.is(64<<10+52, "ReIsEr3Fs"):
		return "reiserfs"
	case c.is(64<<10, "ReIsEr4"):
		return "reiser4"
	case c.is(1024, "\xe2\xe1\xf5\xe0"):
		return "erofs"
	case c.is(1024, "H+\x00\x04"), c.is(1024, "HX\x00\x05"):
		return "hfsplus"
	case c.is(32, "NXSB"):
		return "apfs"
	case c.is(1024+6, "\x34\x34") && le.Uint32(c.at(1024, 4)) == 2:
		return "nilfs2"
	case c.is(64<<10, "\x01\x16\x19\x70\x00\x00\x00\x01"):
		return "gfs2"
	case c.is(0, "\x45\x3d\xcd\x28"):
		return "cramfs"
	}
	for at := 1024; at <= 8192; at *= 2 {
		if c.is(at, "OCFSV2") {
			return "ocfs2"
		}
	}
	return ""
}

func powerOfTwo(n uint32, least, most uint32) bool {
	return n >= least && n <= most && bits.OnesCount32(n) == 1
}
