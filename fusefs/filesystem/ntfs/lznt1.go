package ntfs

import (
	"encoding/binary"
	"math/bits"
)

const chunkSize = 4096

// decompress reads LZNT1, section 2.5 of MS-XCA: chunks of 4096 bytes, each on its own.
// What the chunks do not fill of out, which has to be zeros, stays.
func decompress(out, in []byte) error {
	for len(in) >= 2 && len(out) > 0 {
		header := binary.LittleEndian.Uint16(in)
		if header == 0 {
			return nil
		}
		length := int(header&0x0fff) + 1
		if 2+length > len(in) {
			return corrupt("a chunk of %d bytes where %d are left", length, len(in)-2)
		}
		body, to := in[2:2+length], out[:min(chunkSize, len(out))]
		if header&0x8000 == 0 {
			copy(to, body)
		} else if err := decompressChunk(to, body); err != nil {
			return err
		}
		in, out = in[2+length:], out[len(to):]
	}
	return nil
}

// decompressChunk reads groups of a byte of flags and 8 tokens: a byte as it is, or 16 bits
// that say how far back how many bytes are to be repeated.
func decompressChunk(out, in []byte) error {
	n := 0
	for len(in) > 0 {
		flags := in[0]
		in = in[1:]
		for i := 0; i < 8 && len(in) > 0; i++ {
			if n >= len(out) {
				return corrupt("a chunk of more than %d bytes", len(out))
			}
			if flags>>i&1 == 0 {
				out[n] = in[0]
				n, in = n+1, in[1:]
				continue
			}
			if len(in) < 2 || n == 0 {
				return corrupt("a chunk repeats what is not there")
			}
			token := int(binary.LittleEndian.Uint16(in))
			in = in[2:]
			// The further into the chunk, the more bits the distance has: 4 to 12.
			lengthBits := 16 - max(4, bits.Len(uint(n-1)))
			distance, length := token>>lengthBits+1, token&(1<<lengthBits-1)+3
			if distance > n || length > len(out)-n {
				return corrupt("a chunk repeats %d bytes from %d back at %d", length, distance, n)
			}
			for end := n + length; n < end; n++ {
				out[n] = out[n-distance]
			}
		}
	}
	return nil
}
