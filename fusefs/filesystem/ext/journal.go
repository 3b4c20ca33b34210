package ext

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"vmsync/fusefs/filesystem"
)

var be = binary.BigEndian

const (
	journalMagic = 0xC03B3998

	// Kinds of blocks in the journal.
	journalDescriptor   = 1
	journalCommit       = 2
	journalSuperblockV1 = 3
	journalSuperblockV2 = 4
	journalRevoke       = 5

	// Features of the journal's own superblock.
	journalCompatChecksum = 0x1
	journalRevokes        = 0x1
	journal64Bit          = 0x2
	journalAsyncCommit    = 0x4
	journalCsumV2         = 0x8
	journalCsumV3         = 0x10
	journalFastCommit     = 0x20
	journalKnown          = journalRevokes | journal64Bit | journalAsyncCommit | journalCsumV2 | journalCsumV3 | journalFastCommit

	journalLeastBlocks = 1024
	journalMostBlocks  = 10_240_000 // as e2fsprogs says
	journalMostRuns    = 1 << 16
	journalFastDefault = 256 // blocks of fast commits where the superblock counts none
)

// journal is the log of an ext3 or ext4 (JBD2), which lies in an inode.
type journal struct {
	r    *reader
	runs []run // where its blocks are, all of them, in order

	compat, incompat uint32
	first, end       uint64 // the log's blocks, a ring
	fastEnd          uint64 // of the fast commits, which follow the ring
	start            uint64 // the oldest transaction; 0 for none
	sequence         uint32 // its number
	seed             uint32
}

// openJournal finds the journal and reads its superblock.
func openJournal(r *reader) (*journal, error) {
	if r.sb.journalInode == 0 {
		return nil, fmt.Errorf("ext: %w: it is on another device", filesystem.ErrNeedsReplay)
	}
	inode, err := r.anyInode(r.sb.journalInode)
	if err != nil || inode.links == 0 || inode.size < journalLeastBlocks<<r.sb.blockBits {
		if inode, err = r.journalBackup(err); err != nil {
			return nil, err
		}
	}
	j := &journal{r: r}
	if err := j.locate(inode, 1); err != nil {
		return nil, err
	}
	super := make([]byte, r.sb.blockSize)
	if err := j.read(super, 0); err != nil {
		return nil, err
	}
	length, err := j.superblock(super)
	if err != nil {
		return nil, err
	}
	if length > uint64(inode.size)>>r.sb.blockBits {
		return nil, corrupt("the journal has %d blocks, its inode %d bytes", length, inode.size)
	}
	return j, j.locate(inode, length)
}

// journalBackup makes the journal's inode from the superblock's copy of it; because is why.
func (r *reader) journalBackup(because error) (*inode, error) {
	backup := r.sb.journalBackup
	if backup == nil {
		if because == nil {
			because = corrupt("inode %d is no journal", r.sb.journalInode)
		}
		return nil, because
	}
	i := &inode{number: r.sb.journalInode, size: int64(backup[15])<<32 | int64(backup[16])}
	for n, v := range backup[:15] {
		le.PutUint32(i.blockMap[4*n:], v)
	}
	if le.Uint16(i.blockMap[:]) == extentMagic {
		i.flags = flagExtents
	}
	return i, nil
}

// locate finds the first length blocks. It refuses blocks that come twice, so that work
// on the journal is bounded by the device's size.
func (j *journal) locate(inode *inode, length uint64) error {
	j.runs = nil
	for block := uint64(0); block < length; {
		found, err := j.r.longRunAt(inode, block, length-block)
		if err != nil {
			return err
		}
		if !found.data || len(j.runs) == journalMostRuns {
			return corrupt("the journal has a hole, or too many pieces, at block %d", block)
		}
		skip := block - found.first
		found = run{first: block, length: min(found.length-skip, length-block), place: found.place + skip, data: true}
		j.runs = append(j.runs, found)
		block = found.end()
	}
	sorted := slices.SortedFunc(slices.Values(j.runs), func(a, b run) int { return cmp.Compare(a.place, b.place) })
	for n := 1; n < len(sorted); n++ {
		if sorted[n-1].place+sorted[n-1].length > sorted[n].place {
			return corrupt("the journal has block %d twice", sorted[n].place)
		}
	}
	return nil
}

// superblock decodes the journal's superblock, and returns the journal's length in blocks.
func (j *journal) superblock(b []byte) (uint64, error) {
	kind := be.Uint32(b[4:])
	if be.Uint32(b) != journalMagic || (kind != journalSuperblockV1 && kind != journalSuperblockV2) {
		return 0, corrupt("the journal has no superblock")
	}
	if size := be.Uint32(b[0xC:]); int64(size) != j.r.sb.blockSize {
		return 0, corrupt("the journal has blocks of %d bytes", size)
	}
	if kind == journalSuperblockV2 {
		j.compat, j.incompat = be.Uint32(b[0x24:]), be.Uint32(b[0x28:])
	}
	if unknown := j.incompat &^ journalKnown; unknown != 0 {
		return 0, fmt.Errorf("ext: %w: %w: the journal's feature %#x", filesystem.ErrNeedsReplay, filesystem.ErrUnsupported, unknown)
	}
	if j.checksums() {
		if kind := b[0x50]; kind != 4 {
			return 0, corrupt("the journal has checksums of kind %d", kind)
		}
		sum := checksum(checksum(^uint32(0), b[:0xFC]), []byte{0, 0, 0, 0})
		if checksum(sum, b[0x100:0x400]) != be.Uint32(b[0xFC:]) {
			return 0, corrupt("the checksum of the journal's superblock is wrong")
		}
	}
	j.seed = checksum(^uint32(0), b[0x30:0x40])
	length := uint64(be.Uint32(b[0x10:]))
	j.first, j.sequence, j.start = uint64(be.Uint32(b[0x14:])), be.Uint32(b[0x18:]), uint64(be.Uint32(b[0x1C:]))
	j.end, j.fastEnd = length, length
	if j.incompat&journalFastCommit != 0 {
		fast := uint64(be.Uint32(b[0x54:]))
		if fast == 0 {
			fast = journalFastDefault
		}
		if length >= fast+journalLeastBlocks {
			j.end = length - fast
		}
	}
	if length < journalLeastBlocks || length > journalMostBlocks || j.first == 0 || j.first >= j.end ||
		(j.start != 0 && (j.start < j.first || j.start >= j.end)) {
		return 0, corrupt("the journal has blocks %d to %d of %d, and begins at %d", j.first, j.end, length, j.start)
	}
	return length, nil
}

// checksums tells whether every block of the journal has a checksum.
func (j *journal) checksums() bool { return j.incompat&(journalCsumV2|journalCsumV3) != 0 }

// place returns where a block of the journal is.
func (j *journal) place(block uint64) (uint64, error) {
	n := sort.Search(len(j.runs), func(n int) bool { return j.runs[n].end() > block })
	if n == len(j.runs) {
		return 0, corrupt("block %d of the journal", block)
	}
	return j.runs[n].place + block - j.runs[n].first, nil
}

// read fills b with a block of the journal.
func (j *journal) read(b []byte, block uint64) error {
	place, err := j.place(block)
	if err != nil {
		return err
	}
	return j.r.read(b, place)
}

// after returns the block that is n blocks further in the ring.
func (j *journal) after(block, n uint64) uint64 {
	return j.first + (block-j.first+n)%(j.end-j.first)
}
