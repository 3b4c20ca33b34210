package btrfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/crypto/blake2b"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is one of the algorithms that a filesystem was made with ([format],
// "Checksum types"). The same one covers its metadata and its data.
type checksum struct {
	name string
	size int
	// matches says whether sum, of size bytes, is that of b.
	matches func(b, sum []byte) bool
}

var checksums = map[uint16]checksum{
	0: {"crc32c", 4, func(b, sum []byte) bool {
		return crc32.Checksum(b, castagnoli) == binary.LittleEndian.Uint32(sum)
	}},
	1: {"xxhash64", 8, func(b, sum []byte) bool {
		return xxhash.Sum64(b) == binary.LittleEndian.Uint64(sum)
	}},
	2: {"sha256", 32, func(b, sum []byte) bool {
		got := sha256.Sum256(b)
		return bytes.Equal(got[:], sum)
	}},
	3: {"blake2b", 32, func(b, sum []byte) bool {
		got := blake2b.Sum256(b)
		return bytes.Equal(got[:], sum)
	}},
}

// unchecked accepts whatever it is shown. Fuzz tests read through it: a changed byte
// would never get past a real checksum.
func unchecked(of checksum) checksum {
	of.matches = func(_, _ []byte) bool { return true }
	return of
}

// nameHash is where a directory or a file's attributes keep a name: CRC-32C with
// another seed and without the final inversion.
func nameHash(name string) uint64 {
	return uint64(^crc32.Update(1, castagnoli, []byte(name)))
}
