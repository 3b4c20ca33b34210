package ext

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Flags of an inode (i_flags).
const (
	flagEncrypt    = 0x800
	flagIndex      = 0x1000
	flagHugeFile   = 0x40000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInlineData = 0x10000000
	flagCasefold   = 0x40000000
)

// inode is a decoded struct ext4_inode. It is shared: nobody may change it.
type inode struct {
	number                     uint32
	mode                       uint32
	links                      uint32
	uid, gid                   uint32
	size                       int64
	sectors                    int64 // i_blocks, in units of 512 bytes
	flags                      uint32
	generation                 uint32
	dtime                      uint32 // of an orphan: the next one
	xattrBlock                 uint64
	blockMap                   [60]byte // i_block
	atime, mtime, ctime, btime time.Time
	seed                       uint32 // of the checksums of its blocks
	extra                      []byte // what follows the known fields: attributes
}

func (i *inode) is(kind uint32) bool  { return i.mode&unix.S_IFMT == kind }
func (i *inode) has(flag uint32) bool { return i.flags&flag != 0 }

// inode returns an inode that a directory may name. Others of the reserved ones, and
// deleted ones, are not files.
func (r *reader) inode(id filesystem.ID) (*inode, error) {
	if id > filesystem.ID(r.sb.inodes) || (id < filesystem.ID(r.sb.firstInode) && id != rootInode) {
		return nil, corrupt("inode %d is no file's", id)
	}
	i, err := r.anyInode(uint32(id))
	if err != nil {
		return nil, err
	}
	if i.links == 0 {
		return nil, corrupt("inode %d is named, but deleted", id)
	}
	if i.has(flagEAInode) {
		return nil, corrupt("inode %d is named, but holds an attribute", id)
	}
	return i, nil
}

// anyInode returns an inode whatever it is for.
func (r *reader) anyInode(number uint32) (*inode, error) {
	if i, ok := r.inodes.get(number); ok {
		return i, nil
	}
	raw, err := r.rawInode(number)
	if err != nil {
		return nil, err
	}
	i, err := r.decodeInode(number, raw)
	if err != nil {
		return nil, err
	}
	r.inodes.put(number, i)
	return i, nil
}

// rawInode returns an inode's bytes, which are shared.
func (r *reader) rawInode(number uint32) ([]byte, error) {
	if number == 0 || number > r.sb.inodes {
		return nil, corrupt("inode %d of %d", number, r.sb.inodes)
	}
	group, index := uint64((number-1)/r.sb.inodesPerGroup), int64((number-1)%r.sb.inodesPerGroup)
	desc, err := r.descriptor(group)
	if err != nil {
		return nil, err
	}
	at := index * r.sb.inodeSize
	block, err := r.block(blockKey{block: desc.inodeTable + uint64(at>>r.sb.blockBits)}, nil)
	if err != nil {
		return nil, err
	}
	return block[at&(r.sb.blockSize-1):][:r.sb.inodeSize], nil
}

func (r *reader) decodeInode(number uint32, raw []byte) (*inode, error) {
	i := &inode{
		number:     number,
		mode:       uint32(le.Uint16(raw)),
		uid:        uint32(le.Uint16(raw[0x2:])) | uint32(le.Uint16(raw[0x78:]))<<16,
		gid:        uint32(le.Uint16(raw[0x18:])) | uint32(le.Uint16(raw[0x7A:]))<<16,
		links:      uint32(le.Uint16(raw[0x1A:])),
		flags:      le.Uint32(raw[0x20:]),
		generation: le.Uint32(raw[0x64:]),
		dtime:      le.Uint32(raw[0x14:]),
		xattrBlock: uint64(le.Uint32(raw[0x68:])),
	}
	copy(i.blockMap[:], raw[0x28:])
	i.seed = checksum32(checksum32(r.sb.seed, number), i.generation)
	known, err := extraSize(number, raw)
	if err != nil {
		return nil, err
	}
	if r.sb.checksums() {
		if err := i.check(raw, known); err != nil {
			return nil, err
		}
	}
	if r.sb.has(incompat64Bit) {
		i.xattrBlock |= uint64(le.Uint16(raw[0x76:])) << 32
	}
	i.size = int64(le.Uint32(raw[0x4:]))
	if i.is(unix.S_IFREG) || r.sb.has(incompatLargeDir) {
		i.size |= int64(le.Uint32(raw[0x6C:])) << 32
	}
	if i.size < 0 {
		return nil, corrupt("inode %d has a negative size", number)
	}
	i.sectors = r.sectors(i, raw)
	if known == 128 && len(raw) > 128 {
		// Nothing says what follows: the kernel takes it for the fields it knows.
		i.times(raw, 160)
		return i, nil
	}
	i.times(raw, known)
	if known < len(raw) {
		i.extra = append([]byte(nil), raw[known:]...)
	}
	return i, nil
}

// extraSize returns where the known fields of an inode end (128 + i_extra_isize).
func extraSize(number uint32, raw []byte) (int, error) {
	if len(raw) == 128 {
		return 128, nil
	}
	known := 128 + int(le.Uint16(raw[0x80:]))
	if known > len(raw) || known%4 != 0 {
		return 0, corrupt("inode %d has fields up to byte %d of %d", number, known, len(raw))
	}
	return known, nil
}

// check verifies the inode's checksum, which has its upper half where there is room.
func (i *inode) check(raw []byte, known int) error {
	zero := []byte{0, 0}
	want := checksum(checksum(i.seed, raw[:0x7C]), zero)
	want = checksum(want, raw[0x7E:128])
	have, mask := uint32(le.Uint16(raw[0x7C:])), uint32(0xFFFF)
	switch {
	case known >= 0x84:
		want = checksum(checksum(checksum(want, raw[128:0x82]), zero), raw[0x84:])
		have, mask = have|uint32(le.Uint16(raw[0x82:]))<<16, ^uint32(0)
	case len(raw) > 128:
		want = checksum(want, raw[128:])
	}
	if have != want&mask {
		return corrupt("the checksum of inode %d is wrong", i.number)
	}
	return nil
}

// sectors returns how much an inode occupies, in units of 512 bytes.
func (r *reader) sectors(i *inode, raw []byte) int64 {
	n := int64(le.Uint32(raw[0x1C:]))
	if r.sb.roCompat&roHugeFile == 0 {
		return n
	}
	n |= int64(le.Uint16(raw[0x74:])) << 32
	if i.has(flagHugeFile) {
		n <<= r.sb.blockBits - 9
	}
	return n
}

// times decodes the times. Each has a second word, where the inode has room for it: two
// bits that extend the seconds beyond 2038, and nanoseconds.
func (i *inode) times(raw []byte, known int) {
	stamp := func(at, extra int) time.Time {
		sec, nsec := int64(int32(le.Uint32(raw[at:]))), int64(0)
		if known >= extra+4 {
			more := le.Uint32(raw[extra:])
			sec += int64(more&3) << 32
			nsec = int64(more >> 2)
		}
		return time.Unix(sec, nsec)
	}
	i.atime, i.ctime, i.mtime = stamp(0x8, 0x8C), stamp(0xC, 0x84), stamp(0x10, 0x88)
	if known >= 0x94 {
		i.btime = stamp(0x90, 0x94)
	}
}

// rdev decodes the two ways in which device numbers are kept: 16 bits, and 32.
func (i *inode) rdev() uint64 {
	if !i.is(unix.S_IFCHR) && !i.is(unix.S_IFBLK) {
		return 0
	}
	if old := le.Uint32(i.blockMap[0:]); old != 0 {
		return unix.Mkdev(old>>8&0xFF, old&0xFF)
	}
	dev := le.Uint32(i.blockMap[4:])
	return unix.Mkdev(dev>>8&0xFFF, dev&0xFF|dev>>12&0xFFF00)
}

// readable refuses what needs a key.
func (i *inode) readable() error {
	if i.has(flagEncrypt) {
		return fmt.Errorf("ext: %w: inode %d is encrypted", filesystem.ErrUnsupported, i.number)
	}
	return nil
}
