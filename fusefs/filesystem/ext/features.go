package ext

import (
	"fmt"
	"strings"

	"vmsync/fusefs/filesystem"
)

// Feature flags of the superblock (s_feature_compat, _incompat, _ro_compat) which change
// how the filesystem is read, or by which blkid tells its kind.
const (
	compatJournal    = 0x4
	compatDirIndex   = 0x20
	compatSparse2    = 0x200
	compatOrphanFile = 0x1000

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatJournalDev = 0x8
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64Bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000
	incompatCasefold   = 0x20000

	roSparseSuper   = 0x1
	roLargeFile     = 0x2
	roBtreeDir      = 0x4
	roHugeFile      = 0x8
	roGDTCsum       = 0x10
	roBigalloc      = 0x200
	roMetadataCsum  = 0x400
	roOrphanPresent = 0x10000
)

// incompatNames names the incompatible features that this package does not know, as
// mke2fs does.
var incompatNames = map[uint32]string{
	0x1:                "compression",
	incompatJournalDev: "journal_dev",
	0x1000:             "dirdata",
}

const incompatKnown = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64Bit |
	incompatMMP | incompatFlexBG | incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInlineData |
	incompatEncrypt | incompatCasefold

// checkFeatures refuses what cannot be read without knowing it. Unknown compatible and
// read-only compatible features do no harm to a reader, by their definition.
func checkFeatures(incompat uint32) error {
	unknown := incompat &^ incompatKnown
	if unknown == 0 {
		return nil
	}
	var names []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if unknown&bit == 0 {
			continue
		}
		name := incompatNames[bit]
		if name == "" {
			name = fmt.Sprintf("incompatible feature %#x", bit)
		}
		names = append(names, name)
	}
	return fmt.Errorf("ext: %w: %s", filesystem.ErrUnsupported, strings.Join(names, ", "))
}

// kind tells ext2, ext3 and ext4 apart as blkid does: by the journal, and by features
// that came later.
func (sb *superblock) kind() string {
	const ext3RO = roSparseSuper | roLargeFile | roBtreeDir
	const ext3Incompat = incompatFiletype | incompatRecover | incompatMetaBG
	switch {
	case sb.roCompat&^ext3RO != 0 || sb.incompat&^ext3Incompat != 0:
		return "ext4"
	case sb.compat&compatJournal != 0:
		return "ext3"
	}
	return "ext2"
}
