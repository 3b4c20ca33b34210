package ext

import "iter"

const (
	journalHeader = 12 // magic, kind, transaction
	journalTail   = 4  // checksum of a descriptor or revoke block, at its end

	tagEscaped  = 0x1 // the block began with the journal's magic, which was zeroed
	tagSameUUID = 0x2
	tagLast     = 0x8
)

// journalTag says where a block in the journal belongs.
type journalTag struct {
	home    uint64
	escaped bool
	sum     uint32 // 32 bits with version 3 of checksums, 16 with 2
}

// tags yields a descriptor's tags; the blocks follow it in this order.
func (j *journal) tags(b []byte) iter.Seq[journalTag] {
	size, end := 8, len(b)
	switch {
	case j.incompat&journalCsumV3 != 0:
		size = 16
	case j.incompat&journalCsumV2 != 0:
		size = 10
	}
	if j.incompat&(journal64Bit|journalCsumV3) == journal64Bit {
		size += 4
	}
	if j.checksums() {
		end -= journalTail
	}
	return func(yield func(journalTag) bool) {
		for at := journalHeader; at+size <= end; {
			raw := b[at:][:size]
			flags := be.Uint16(raw[6:])
			tag := journalTag{home: uint64(be.Uint32(raw)), escaped: flags&tagEscaped != 0, sum: uint32(be.Uint16(raw[4:]))}
			if j.incompat&journal64Bit != 0 {
				tag.home |= uint64(be.Uint32(raw[8:])) << 32
			}
			if j.incompat&journalCsumV3 != 0 {
				tag.sum = be.Uint32(raw[12:])
			}
			if !yield(tag) || flags&tagLast != 0 {
				return
			}
			at += size
			if flags&tagSameUUID == 0 {
				at += 16
			}
		}
	}
}

func (j *journal) countTags(b []byte) uint64 {
	n := uint64(0)
	for range j.tags(b) {
		n++
	}
	return n
}

// intact verifies the checksum of a descriptor or revoke block.
func (j *journal) intact(b []byte) bool {
	if !j.checksums() {
		return true
	}
	tail := len(b) - journalTail
	return checksum(checksum(j.seed, b[:tail]), []byte{0, 0, 0, 0}) == be.Uint32(b[tail:])
}

// commitIntact verifies the checksum of a commit block.
func (j *journal) commitIntact(b []byte) bool {
	const at = 0x10
	if !j.checksums() {
		return true
	}
	sum := checksum(checksum(j.seed, b[:at]), []byte{0, 0, 0, 0})
	return checksum(sum, b[at+4:]) == be.Uint32(b[at:])
}

// blockIntact verifies the checksum of a block that a tag describes.
func (j *journal) blockIntact(b []byte, sequence, sum uint32) bool {
	if !j.checksums() {
		return true
	}
	var number [4]byte
	be.PutUint32(number[:], sequence)
	want := checksum(checksum(j.seed, number[:]), b)
	if j.incompat&journalCsumV3 == 0 {
		want &= 0xFFFF
	}
	return want == sum
}

// revoked yields the blocks that a revoke block names.
func (j *journal) revoked(b []byte) (iter.Seq[uint64], error) {
	size, most := 4, len(b)
	if j.incompat&journal64Bit != 0 {
		size = 8
	}
	if j.checksums() {
		most -= journalTail
	}
	end := be.Uint32(b[journalHeader:])
	if int64(end) > int64(most) {
		return nil, corrupt("a revoke block of the journal counts %d bytes", end)
	}
	return func(yield func(uint64) bool) {
		for at := journalHeader + 4; at+size <= int(end); at += size {
			block := uint64(be.Uint32(b[at:]))
			if size == 8 {
				block = be.Uint64(b[at:])
			}
			if !yield(block) {
				return
			}
		}
	}, nil
}
