package ext

// descriptorBlock returns where the i-th block of group descriptors is. Without meta_bg
// they follow the superblock; with it, each is in the first group that it describes.
func (sb *superblock) descriptorBlock(i uint64) uint64 {
	super := uint64(superblockOffset) >> sb.blockBits
	if !sb.has(incompatMetaBG) || i < sb.firstMetaBG {
		return super + i + 1
	}
	group := i * uint64(sb.blockSize/sb.descSize)
	block := sb.firstDataBlock + group*sb.blocksPerGroup
	if sb.hasSuper(group) {
		block++
	}
	// With blocks of 1 KiB that are counted from 0, group 0 begins with the boot block.
	if i == 0 && sb.blockSize == 1024 && sb.firstDataBlock == 0 {
		block++
	}
	return block
}

// hasSuper tells whether a group begins with a copy of the superblock.
func (sb *superblock) hasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case sb.compat&compatSparse2 != 0:
		return group == uint64(sb.backupGroups[0]) || group == uint64(sb.backupGroups[1])
	case group == 1 || sb.roCompat&roSparseSuper == 0:
		return true
	}
	return powerOf(group, 3) || powerOf(group, 5) || powerOf(group, 7)
}

func powerOf(n, base uint64) bool {
	for n%base == 0 {
		n /= base
	}
	return n == 1
}

// descriptor is what this package needs of struct ext4_group_desc.
type descriptor struct {
	inodeTable   uint64
	freeClusters uint64
	freeInodes   uint64
}

// descriptor reads and checks the descriptor of a group.
func (r *reader) descriptor(group uint64) (descriptor, error) {
	if group >= r.sb.groups {
		return descriptor{}, corrupt("group %d of %d", group, r.sb.groups)
	}
	perBlock := uint64(r.sb.blockSize / r.sb.descSize)
	block, err := r.block(blockKey{block: r.sb.descriptorBlock(group / perBlock)}, nil)
	if err != nil {
		return descriptor{}, err
	}
	raw := block[group%perBlock*uint64(r.sb.descSize):][:r.sb.descSize]
	if err := r.sb.checkDescriptor(raw, group); err != nil {
		return descriptor{}, err
	}
	d := descriptor{
		inodeTable:   uint64(le.Uint32(raw[0x8:])),
		freeClusters: uint64(le.Uint16(raw[0xC:])),
		freeInodes:   uint64(le.Uint16(raw[0xE:])),
	}
	if r.sb.descSize >= 64 {
		d.inodeTable |= uint64(le.Uint32(raw[0x28:])) << 32
		d.freeClusters |= uint64(le.Uint16(raw[0x2C:])) << 16
		d.freeInodes |= uint64(le.Uint16(raw[0x2E:])) << 16
	}
	return d, nil
}

const descriptorChecksum = 0x1E

func (sb *superblock) checkDescriptor(raw []byte, group uint64) error {
	var want uint16
	before, after := raw[:descriptorChecksum], raw[descriptorChecksum+2:]
	switch {
	case sb.checksums():
		sum := checksum(checksum32(sb.seed, uint32(group)), before)
		want = uint16(checksum(checksum(sum, []byte{0, 0}), after))
	case sb.roCompat&roGDTCsum != 0:
		var number [4]byte
		le.PutUint32(number[:], uint32(group))
		want = crc16(crc16(crc16(0xFFFF, sb.uuid[:]), number[:]), before)
		if sb.has(incompat64Bit) {
			want = crc16(want, after)
		}
	default:
		return nil
	}
	if want != le.Uint16(raw[descriptorChecksum:]) {
		return corrupt("the checksum of group descriptor %d is wrong", group)
	}
	return nil
}
