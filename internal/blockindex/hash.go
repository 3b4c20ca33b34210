package blockindex

import (
	"bytes"
	"encoding/hex"

	"github.com/zeebo/blake3"
)

// Hash names the content of a block. Blocks with the same hash and of the same
// length are taken to be equal.
type Hash [16]byte

// Zero is the hash of a block that holds nothing but zeros, of whatever length.
var Zero = Hash{15: 1}

// absent is what a file has for a block that it says nothing about.
var absent Hash

// Sum is the hash of a block: [Zero], or the beginning of its BLAKE3 hash.
func Sum(block []byte) Hash {
	if allZero(block) {
		return Zero
	}
	sum := blake3.Sum256(block)
	return Hash(sum[:len(Hash{})])
}

// String is the hash as 32 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// allZero tells whether b holds nothing but zeros. Comparing b with itself, shifted
// by one, runs at the speed of memory.
func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
