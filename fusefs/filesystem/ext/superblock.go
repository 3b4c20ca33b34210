package ext

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"vmsync/fusefs/filesystem"
)

const (
	superblockOffset = 1024
	superblockSize   = 1024
	superblockMagic  = 0xEF53

	rootInode = 2

	leastBlocksPerGroup = 256 // mke2fs makes no smaller groups

	stateValid  = 0x1 // s_state: unmounted, or has a journal
	stateErrors = 0x2 // s_state: the kernel found errors
)

var le = binary.LittleEndian

// superblock is what this package needs of struct ext4_super_block.
type superblock struct {
	compat, incompat, roCompat uint32

	inodes         uint32
	blocks         uint64
	firstDataBlock uint64
	blockSize      int64 // bytes, a power of two from 1024 to 65536
	blockBits      uint
	clusterBlocks  uint64 // blocks in a cluster; 1 without bigalloc
	blocksPerGroup uint64
	inodesPerGroup uint32
	groups         uint64
	inodeSize      int64
	firstInode     uint32 // the first that is not reserved
	descSize       int64  // of a group descriptor
	firstMetaBG    uint64
	reservedDescs  uint64    // blocks kept for more group descriptors, behind each copy of them
	backupGroups   [2]uint32 // sparse_super2
	overhead       uint64    // clusters; 0 where mke2fs did not count them

	state        uint16
	uuid         [16]byte
	label        string
	hashSeed     [4]uint32
	hashUnsigned bool   // directory hashes take names as unsigned characters
	seed         uint32 // of metadata_csum's checksums

	journalInode  uint32
	journalBackup *[17]uint32 // i_block, then the size's high and low half
	lastOrphan    uint32
	orphanFile    uint32
}

func (sb *superblock) has(incompat uint32) bool { return sb.incompat&incompat != 0 }
func (sb *superblock) checksums() bool          { return sb.roCompat&roMetadataCsum != 0 }

// readSuperblock reads and checks the primary superblock. size is the device's.
func readSuperblock(dev io.ReaderAt, size int64) (*superblock, error) {
	if size < superblockOffset+superblockSize {
		return nil, fmt.Errorf("ext: %w", filesystem.ErrUnknown)
	}
	raw := make([]byte, superblockSize)
	if _, err := dev.ReadAt(raw, superblockOffset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ext: reading the superblock: %w", err)
	}
	if le.Uint16(raw[0x38:]) != superblockMagic {
		return nil, fmt.Errorf("ext: %w", filesystem.ErrUnknown)
	}
	sb := &superblock{}
	if le.Uint32(raw[0x4C:]) > 0 { // revision 0 has no features
		sb.compat, sb.incompat, sb.roCompat = le.Uint32(raw[0x5C:]), le.Uint32(raw[0x60:]), le.Uint32(raw[0x64:])
	}
	if sb.checksums() && checksum(^uint32(0), raw[:0x3FC]) != le.Uint32(raw[0x3FC:]) {
		return nil, corrupt("the superblock's checksum is wrong")
	}
	if err := checkFeatures(sb.incompat); err != nil {
		return nil, err
	}
	if kind := raw[0x175]; sb.checksums() && kind != 1 {
		return nil, fmt.Errorf("ext: %w: metadata checksums of kind %d", filesystem.ErrUnsupported, kind)
	}
	sb.identity(raw)
	if err := sb.geometry(raw); err != nil {
		return nil, err
	}
	if sb.blocks > uint64(size)>>sb.blockBits {
		return nil, corrupt("the superblock counts %d blocks of %d bytes, the device has %d bytes", sb.blocks, sb.blockSize, size)
	}
	return sb, nil
}

// identity reads names, seeds, and where the journal and the orphans are.
func (sb *superblock) identity(raw []byte) {
	sb.state = le.Uint16(raw[0x3A:])
	copy(sb.uuid[:], raw[0x68:])
	label, _, _ := bytes.Cut(raw[0x78:0x88], []byte{0})
	sb.label = string(label)
	for i := range sb.hashSeed {
		sb.hashSeed[i] = le.Uint32(raw[0xEC+4*i:])
	}
	sb.hashUnsigned = le.Uint32(raw[0x160:])&0x2 != 0
	sb.seed = checksum(^uint32(0), sb.uuid[:])
	if sb.has(incompatCsumSeed) {
		sb.seed = le.Uint32(raw[0x270:])
	}
	sb.journalInode = le.Uint32(raw[0xE0:])
	if raw[0xFD] == 1 {
		sb.journalBackup = new([17]uint32)
		for i := range sb.journalBackup {
			sb.journalBackup[i] = le.Uint32(raw[0x10C+4*i:])
		}
	}
	sb.lastOrphan = le.Uint32(raw[0xE8:])
	if sb.compat&compatOrphanFile != 0 && sb.roCompat&roOrphanPresent != 0 {
		sb.orphanFile = le.Uint32(raw[0x280:])
	}
}

// geometry reads the sizes, and refuses those with which places could not be computed.
func (sb *superblock) geometry(raw []byte) error {
	logBlock, logCluster := le.Uint32(raw[0x18:]), le.Uint32(raw[0x1C:])
	if logBlock > 6 {
		return corrupt("blocks of 2^%d KiB", logBlock)
	}
	sb.blockBits = uint(10 + logBlock)
	sb.blockSize = 1 << sb.blockBits
	sb.clusterBlocks = 1
	if sb.roCompat&roBigalloc != 0 {
		if logCluster < logBlock || logCluster > 20 {
			return corrupt("clusters of 2^%d KiB with blocks of 2^%d KiB", logCluster, logBlock)
		}
		sb.clusterBlocks = 1 << (logCluster - logBlock)
	}
	sb.inodes = le.Uint32(raw)
	sb.blocks = uint64(le.Uint32(raw[0x4:]))
	sb.descSize = 32
	if sb.has(incompat64Bit) {
		sb.blocks |= uint64(le.Uint32(raw[0x150:])) << 32
		sb.descSize = int64(le.Uint16(raw[0xFE:]))
		if sb.descSize < 64 || sb.descSize > 1024 || sb.descSize&(sb.descSize-1) != 0 {
			return corrupt("group descriptors of %d bytes", sb.descSize)
		}
	}
	sb.inodeSize, sb.firstInode = 128, 11
	if le.Uint32(raw[0x4C:]) > 0 {
		sb.inodeSize, sb.firstInode = int64(le.Uint16(raw[0x58:])), le.Uint32(raw[0x54:])
	}
	if sb.inodeSize < 128 || sb.inodeSize > sb.blockSize || sb.inodeSize&(sb.inodeSize-1) != 0 {
		return corrupt("inodes of %d bytes", sb.inodeSize)
	}
	sb.firstDataBlock = uint64(le.Uint32(raw[0x14:]))
	sb.blocksPerGroup = uint64(le.Uint32(raw[0x20:]))
	sb.inodesPerGroup = le.Uint32(raw[0x28:])
	if sb.blocksPerGroup < leastBlocksPerGroup || sb.blocksPerGroup > 8*uint64(sb.blockSize)*sb.clusterBlocks ||
		int64(sb.inodesPerGroup) < sb.blockSize/sb.inodeSize || int64(sb.inodesPerGroup) > 8*sb.blockSize {
		return corrupt("groups of %d blocks and %d inodes", sb.blocksPerGroup, sb.inodesPerGroup)
	}
	if sb.firstDataBlock > 1 || sb.blocks <= sb.firstDataBlock {
		return corrupt("%d blocks, the first is %d", sb.blocks, sb.firstDataBlock)
	}
	sb.groups = (sb.blocks - sb.firstDataBlock + sb.blocksPerGroup - 1) / sb.blocksPerGroup
	if sb.groups > uint64(sb.inodes) || sb.groups*uint64(sb.inodesPerGroup) != uint64(sb.inodes) {
		return corrupt("%d inodes in %d groups of %d", sb.inodes, sb.groups, sb.inodesPerGroup)
	}
	sb.firstMetaBG = uint64(le.Uint32(raw[0x104:]))
	sb.reservedDescs = uint64(le.Uint16(raw[0xCE:]))
	sb.overhead = uint64(le.Uint32(raw[0x248:]))
	sb.backupGroups = [2]uint32{le.Uint32(raw[0x24C:]), le.Uint32(raw[0x250:])}
	return nil
}

// corrupt returns an error that wraps ErrCorrupt.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("ext: %w: %s", filesystem.ErrCorrupt, fmt.Sprintf(format, args...))
}
