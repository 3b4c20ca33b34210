package probe

// microsoft knows the filesystems whose boot sector names them.
func microsoft(c *contents) string {
	switch {
	case c.is(3, "NTFS    "):
		if ntfs(c.at(0, 512)) {
			return NTFS
		}
	case c.is(3, "EXFAT   "):
		boot := c.at(0, 512)
		if boot[0x6c] >= 9 && boot[0x6c] <= 12 && int(boot[0x6c])+int(boot[0x6d]) <= 25 && (boot[0x6e] == 1 || boot[0x6e] == 2) {
			return ExFAT
		}
	case c.is(3, "ReFS\x00\x00\x00\x00"):
		return ReFS
	}
	return ""
}

func ntfs(boot []byte) bool {
	if !powerOfTwo(uint32(le.Uint16(boot[0x0b:])), 256, 4096) {
		return false
	}
	// Large clusters are given as a negative exponent of two.
	if cluster := boot[0x0d]; !powerOfTwo(uint32(cluster), 1, 128) && (cluster < 240 || cluster > 249) {
		return false
	}
	// What FAT has here has to be zero.
	return le.Uint16(boot[0x0e:]) == 0 && boot[0x10] == 0 && le.Uint16(boot[0x11:]) == 0 &&
		le.Uint16(boot[0x16:]) == 0 && le.Uint32(boot[0x20:]) == 0 &&
		le.Uint64(boot[0x30:]) > 0
}

// vfat knows FAT12, FAT16 and FAT32 by their BIOS parameter block, as boot sectors of
// partitioned disks end with the same signature. What has no name of the filesystem in it
// must begin with a jump.
func vfat(c *contents) string {
	boot := c.at(0, 512)
	reserved, fats, media := le.Uint16(boot[0x0e:]), boot[0x10], boot[0x15]
	if !powerOfTwo(uint32(le.Uint16(boot[0x0b:])), 512, 4096) || !powerOfTwo(uint32(boot[0x0d]), 1, 128) ||
		reserved == 0 || fats == 0 || fats > 4 || (media < 0xf8 && media != 0xf0) {
		return ""
	}
	sectors := uint64(le.Uint16(boot[0x13:]))
	if sectors == 0 {
		sectors = uint64(le.Uint32(boot[0x20:]))
	}
	fat := uint64(le.Uint16(boot[0x16:]))
	if fat == 0 {
		fat = uint64(le.Uint32(boot[0x24:]))
	}
	if fat == 0 || sectors <= uint64(reserved)+uint64(fats)*fat {
		return ""
	}
	named := c.is(0x36, "FAT1") || c.is(0x36, "FAT  ") || c.is(0x52, "FAT32") || c.is(0x36, "MSDOS") || c.is(0x52, "MSDOS")
	jump := (boot[0] == 0xeb && boot[2] == 0x90) || boot[0] == 0xe9
	if !named && !jump {
		return ""
	}
	return VFAT
}
