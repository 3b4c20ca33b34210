package ext

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC32C as ext4 and jbd2 use it: seeded, and not inverted at either end.
func checksum(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

// checksum32 continues a checksum with a little-endian number.
func checksum32(seed, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return checksum(seed, b[:])
}

// checksum64 continues a checksum with a little-endian number.
func checksum64(seed uint32, v uint64) uint32 {
	var b [8]byte
	le.PutUint64(b[:], v)
	return checksum(seed, b[:])
}

// crc16 is the CRC-16 of the gdt_csum feature (polynomial 0x8005, reflected).
func crc16(crc uint16, b []byte) uint16 {
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// crc32BE is the CRC-32 of the journal's first checksum feature (polynomial 0x04C11DB7,
// highest bit first, not inverted).
func crc32BE(crc uint32, b []byte, table *[256]uint32) uint32 {
	for _, c := range b {
		crc = crc<<8 ^ table[byte(crc>>24)^c]
	}
	return crc
}

func crc32BETable() *[256]uint32 {
	var table [256]uint32
	for i := range table {
		crc := uint32(i) << 24
		for range 8 {
			high := crc & (1 << 31)
			crc <<= 1
			if high != 0 {
				crc ^= 0x04C11DB7
			}
		}
		table[i] = crc
	}
	return &table
}
