package xfs

import (
	"encoding/binary"
	"hash/crc32"
)

// Where version 5 keeps the checksum of each kind of metadata.
const (
	superblockCRC = 224
	inodeCRC      = 100
	agfCRC        = 216
	agiCRC        = 312
	agflCRC       = 32
	longTreeCRC   = 64
	shortTreeCRC  = 52
	dirDataCRC    = 4
	daCRC         = 12
	remoteCRC     = 12 // remote attribute values and symbolic links
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noSum      [4]byte
)

// checksum is the CRC-32C of b with the four bytes of the sum itself as zeros.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, noSum[:])
	return crc32.Update(sum, castagnoli, b[at+4:])
}

// checksumOK compares the sum in b, the one little-endian field of the format, with what it is of.
func checksumOK(b []byte, at int) bool {
	return len(b) >= at+4 && binary.LittleEndian.Uint32(b[at:]) == checksum(b, at)
}

func setChecksum(b []byte, at int) {
	if len(b) >= at+4 {
		binary.LittleEndian.PutUint32(b[at:], checksum(b, at))
	}
}
