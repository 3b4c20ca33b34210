package blockindex

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/zeebo/blake3"
)

// Digest names the content of a disk: the sum, modulo 2^128, of one term for each
// block that is not zeros. The order of blocks does not matter, and a block is
// exchanged by removing its old term and adding the new one. The zero value is that of a
// disk of zeros. It finds accidents; it is no proof against somebody who makes disks.
type Digest struct{ high, low uint64 }

// Add counts a block in; one of zeros changes nothing.
func (d *Digest) Add(block int64, h Hash) {
	if h == Zero || h == absent {
		return
	}
	high, low := term(block, h)
	var carry uint64
	d.low, carry = bits.Add64(d.low, low, 0)
	d.high, _ = bits.Add64(d.high, high, carry)
}

// Remove takes back an [Digest.Add] of the same block and hash.
func (d *Digest) Remove(block int64, h Hash) {
	if h == Zero || h == absent {
		return
	}
	high, low := term(block, h)
	var borrow uint64
	d.low, borrow = bits.Sub64(d.low, low, 0)
	d.high, _ = bits.Sub64(d.high, high, borrow)
}

// Merge counts in what another digest counts: that of other blocks of the same disk.
func (d *Digest) Merge(other Digest) {
	var carry uint64
	d.low, carry = bits.Add64(d.low, other.low, 0)
	d.high, _ = bits.Add64(d.high, other.high, carry)
}

// term is what a block adds to a disk's digest.
func term(block int64, h Hash) (high, low uint64) {
	var b [8 + len(h)]byte
	binary.LittleEndian.PutUint64(b[:], uint64(block))
	copy(b[8:], h[:])
	sum := blake3.Sum256(b[:])
	return binary.LittleEndian.Uint64(sum[8:]), binary.LittleEndian.Uint64(sum[:])
}

// String is the digest as 32 hex digits: its 16 bytes, least significant first.
func (d Digest) String() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], d.low)
	binary.LittleEndian.PutUint64(b[8:], d.high)
	return hex.EncodeToString(b[:])
}

// ParseDigest reads what [Digest.String] writes.
func ParseDigest(s string) (Digest, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 || hex.EncodeToString(b) != s {
		return Digest{}, fmt.Errorf("%q is no digest of a disk: 32 lower-case hex digits", s)
	}
	return Digest{high: binary.LittleEndian.Uint64(b[8:]), low: binary.LittleEndian.Uint64(b)}, nil
}
