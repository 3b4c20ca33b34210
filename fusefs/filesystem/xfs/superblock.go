package xfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/google/uuid"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

var be = binary.BigEndian

// Bits of sb_versionnum and sb_features2, which version 4 has to tell its features.
const (
	versionAttr     = 0x0010
	versionLogV2    = 0x0400
	versionDirV2    = 0x2000
	versionASCIICI  = 0x4000
	versionMoreBits = 0x8000

	features2LazySB = 0x0002
	features2FType  = 0x0200
)

// Bits of sb_features_incompat, which version 5 has.
const (
	incompatFType       = 1 << 0
	incompatMetaUUID    = 1 << 2
	incompatNeedsRepair = 1 << 4
)

// incompatNames names the bits of sb_features_incompat by their position.
var incompatNames = [...]string{"ftype", "spinodes", "meta_uuid", "bigtime", "needsrepair", "nrext64",
	"exchange", "parent", "metadir", "zoned", "zone_gaps"}

// incompatKnown are the features that change nothing for a reader, or that it handles:
// ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchange, parent.
const incompatKnown = 0b00011101111

// Limits of the format.
const (
	minBlockLog, maxBlockLog   = 9, 16
	minSectorLog, maxSectorLog = 9, 15
	minInodeLog, maxInodeLog   = 8, 11
	superblockSize             = 512
)

// superblock is what a reader needs of the superblock at the begin of the device.
type superblock struct {
	v5          bool
	blockLog    uint
	blockSize   int64
	sectorSize  int64
	inodeLog    uint
	inodeSize   int
	inodesLog   uint // log2 of inodes per block
	agBlockLog  uint
	agBlocks    uint32
	agCount     uint32
	blocks      uint64
	root        uint64
	dirBlockLog uint
	imaxPercent uint8

	logStart     uint64
	logBlocks    uint32
	logUnit      uint32 // bytes
	inodeAlign   uint32 // blocks
	logV2        bool
	lazyCounters bool
	fileTypes    bool
	asciiCI      bool

	inodes, inodesFree, blocksFree uint64

	uuid, metaUUID [16]byte
	label          string
	roCompat       uint32
	logIncompat    uint32
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", filesystem.ErrCorrupt, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", filesystem.ErrUnsupported, fmt.Sprintf(format, args...))
}

func readSuperblock(d device.Device) (*superblock, error) {
	b := make([]byte, superblockSize)
	if d.Size() < superblockSize {
		return nil, filesystem.ErrUnknown
	}
	if _, err := d.ReadAt(b, 0); err != nil {
		return nil, err
	}
	if string(b[:4]) != "XFSB" {
		return nil, filesystem.ErrUnknown
	}
	sb, err := parseSuperblock(b)
	if err != nil {
		return nil, err
	}
	if sb.v5 {
		sector := make([]byte, sb.sectorSize)
		if _, err := d.ReadAt(sector, 0); err != nil {
			return nil, err
		}
		if !checksumOK(sector, superblockCRC) {
			return nil, corrupt("checksum of the superblock")
		}
	}
	if sb.blocks > uint64(d.Size())>>sb.blockLog {
		return nil, corrupt("%d blocks of %d bytes on a device of %d bytes", sb.blocks, sb.blockSize, d.Size())
	}
	return sb, nil
}

func parseSuperblock(b []byte) (*superblock, error) {
	version := be.Uint16(b[100:])
	sb := &superblock{
		v5:           version&15 == 5,
		blockLog:     uint(b[120]),
		sectorSize:   int64(be.Uint16(b[102:])),
		inodeLog:     uint(b[122]),
		inodesLog:    uint(b[123]),
		agBlockLog:   uint(b[124]),
		agBlocks:     be.Uint32(b[84:]),
		agCount:      be.Uint32(b[88:]),
		blocks:       be.Uint64(b[8:]),
		root:         be.Uint64(b[56:]),
		dirBlockLog:  uint(b[192]),
		imaxPercent:  b[127],
		logStart:     be.Uint64(b[48:]),
		logBlocks:    be.Uint32(b[96:]),
		logUnit:      be.Uint32(b[196:]),
		inodeAlign:   be.Uint32(b[180:]),
		logV2:        version&versionLogV2 != 0,
		inodes:       be.Uint64(b[128:]),
		inodesFree:   be.Uint64(b[136:]),
		blocksFree:   be.Uint64(b[144:]),
		label:        strings.TrimRight(string(b[108:120]), "\x00"),
		asciiCI:      version&versionASCIICI != 0,
		lazyCounters: true,
	}
	copy(sb.uuid[:], b[32:])
	sb.metaUUID = sb.uuid
	if err := sb.features(b, version); err != nil {
		return nil, err
	}
	if err := sb.geometry(b); err != nil {
		return nil, err
	}
	return sb, nil
}

func (sb *superblock) features(b []byte, version uint16) error {
	switch version & 15 {
	case 4:
		if version&versionDirV2 == 0 {
			return unsupported("XFS with directories of version 1")
		}
		var features2 uint32
		if version&versionMoreBits != 0 {
			// A kernel of old put the field four bytes too far; both copies are kept since.
			features2 = be.Uint32(b[200:]) | be.Uint32(b[204:])
		}
		sb.lazyCounters = features2&features2LazySB != 0
		sb.fileTypes = features2&features2FType != 0
		return nil
	case 5:
	default:
		return unsupported("XFS version %d", version&15)
	}
	incompat := be.Uint32(b[216:])
	sb.roCompat = be.Uint32(b[212:])
	sb.logIncompat = be.Uint32(b[220:])
	sb.logV2 = true
	sb.fileTypes = incompat&incompatFType != 0
	if incompat&incompatMetaUUID != 0 {
		copy(sb.metaUUID[:], b[248:])
	}
	if incompat&incompatNeedsRepair != 0 {
		return unsupported("XFS that asks for xfs_repair")
	}
	if unknown := incompat &^ incompatKnown; unknown != 0 {
		bit := bits.TrailingZeros32(unknown)
		if bit < len(incompatNames) {
			return unsupported("XFS feature %q", incompatNames[bit])
		}
		return unsupported("XFS incompatible feature %#x", uint32(1)<<bit)
	}
	return nil
}

// geometry checks everything that addresses are computed from, so that none of those
// computations can overflow later.
func (sb *superblock) geometry(b []byte) error {
	sectorLog := uint(b[121])
	switch {
	case sb.blockLog < minBlockLog || sb.blockLog > maxBlockLog || be.Uint32(b[4:]) != 1<<sb.blockLog:
		return corrupt("block size 2^%d", sb.blockLog)
	case sectorLog < minSectorLog || sectorLog > maxSectorLog || sb.sectorSize != 1<<sectorLog:
		return corrupt("sector size 2^%d", sectorLog)
	case sb.inodeLog < minInodeLog || sb.inodeLog > maxInodeLog || be.Uint16(b[104:]) != 1<<sb.inodeLog,
		sb.inodeLog > sb.blockLog || sb.inodesLog != sb.blockLog-sb.inodeLog:
		return corrupt("inode size 2^%d", sb.inodeLog)
	case sb.blockLog+sb.dirBlockLog > maxBlockLog:
		return corrupt("directory block size 2^%d", sb.blockLog+sb.dirBlockLog)
	case sb.agBlocks == 0 || sb.agCount == 0 || sb.agBlockLog > 31 || sb.agBlockLog != uint(bits.Len32(sb.agBlocks-1)):
		return corrupt("%d groups of %d blocks, addressed by %d bits", sb.agCount, sb.agBlocks, sb.agBlockLog)
	case sb.blocks > uint64(sb.agCount)*uint64(sb.agBlocks) || sb.blocks <= uint64(sb.agCount-1)*uint64(sb.agBlocks),
		sb.blocks>>(63-sb.blockLog) != 0:
		return corrupt("%d blocks in %d groups of %d", sb.blocks, sb.agCount, sb.agBlocks)
	case b[126] != 0:
		return corrupt("mkfs.xfs did not finish")
	}
	sb.blockSize = 1 << sb.blockLog
	sb.inodeSize = 1 << sb.inodeLog
	return nil
}

// address returns the byte at which count blocks begin that are addressed by group and
// block within the group, as all block pointers of files are.
func (sb *superblock) address(block, count uint64) (int64, error) {
	group, within := block>>sb.agBlockLog, block&(1<<sb.agBlockLog-1)
	if group < uint64(sb.agCount) && within < uint64(sb.agBlocks) && count <= uint64(sb.agBlocks)-within {
		if linear := group*uint64(sb.agBlocks) + within; linear+count <= sb.blocks {
			return int64(linear << sb.blockLog), nil
		}
	}
	return 0, corrupt("block %d of group %d is outside of the filesystem", within, group)
}

// inodeAddress returns the block that holds an inode, and the inode's place in it.
func (sb *superblock) inodeAddress(number uint64) (block uint64, offset int, err error) {
	block = number >> sb.inodesLog
	if _, err := sb.address(block, 1); err != nil || number == 0 {
		return 0, 0, corrupt("there can be no inode %d", number)
	}
	return block, int(number&(1<<sb.inodesLog-1)) << sb.inodeLog, nil
}

func (sb *superblock) uuidString() string { return uuid.UUID(sb.uuid).String() }
