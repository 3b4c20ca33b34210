package ext

import "math/bits"

// Ways to hash a name (dx_root_info.hash_version). Those of unsigned characters are 3 above.
const (
	hashLegacy = iota
	hashHalfMD4
	hashTEA
	hashUnsigned
)

// hashName hashes a name as an index does, which must be in the order of hashes. It
// returns false for hashes that it does not know, or that need a key.
func (sb *superblock) hashName(version byte, name string) (uint32, bool) {
	unsigned := sb.hashUnsigned
	if version >= hashUnsigned {
		version, unsigned = version-hashUnsigned, true
	}
	char := func(c byte) uint32 { return uint32(int32(int8(c))) }
	if unsigned {
		char = func(c byte) uint32 { return uint32(c) }
	}
	state := [4]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	if sb.hashSeed != [4]uint32{} {
		state = sb.hashSeed
	}
	var hash uint32
	switch version {
	case hashLegacy:
		hash = legacyHash(name, char)
	case hashHalfMD4:
		for ; len(name) > 0; name = name[min(len(name), 32):] {
			var words [8]uint32
			packName(words[:], name, char)
			halfMD4(&state, &words)
		}
		hash = state[1]
	case hashTEA:
		for ; len(name) > 0; name = name[min(len(name), 16):] {
			var words [4]uint32
			packName(words[:], name, char)
			tea(&state, &words)
		}
		hash = state[0]
	default:
		return 0, false
	}
	hash &^= 1
	if hash == 0xFFFFFFFE { // means the end of a directory
		hash = 0xFFFFFFFC
	}
	return hash, true
}

// packName fills words with the begin of a name, padded with its length.
func packName(words []uint32, name string, char func(byte) uint32) {
	n := uint32(len(name))
	pad := (n | n<<8) * 0x10001
	for k := range words {
		word := pad
		for at := 4 * k; at < min(4*k+4, len(name)); at++ {
			word = char(name[at]) + word<<8
		}
		words[k] = word
	}
}

func legacyHash(name string, char func(byte) uint32) uint32 {
	h0, h1 := uint32(0x12A3FE2D), uint32(0x37ABE8F9)
	for k := range len(name) {
		h := h1 + (h0 ^ char(name[k])*7152373)
		if h&(1<<31) != 0 {
			h -= 1<<31 - 1
		}
		h0, h1 = h, h0
	}
	return h0 << 1
}

// halfMD4 is MD4 with eight steps a round.
func halfMD4(state *[4]uint32, in *[8]uint32) {
	choose := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	most := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	odd := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	rounds := [...]struct {
		mix    func(x, y, z uint32) uint32
		add    uint32
		order  [8]int
		rotate [4]int
	}{
		{choose, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{most, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{odd, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := state[0], state[1], state[2], state[3]
	for _, round := range rounds {
		for step, word := range round.order {
			a = bits.RotateLeft32(a+round.mix(b, c, d)+in[word]+round.add, round.rotate[step%4])
			a, b, c, d = d, a, b, c
		}
	}
	state[0], state[1], state[2], state[3] = state[0]+a, state[1]+b, state[2]+c, state[3]+d
}

// tea is the Tiny Encryption Algorithm with 16 rounds.
func tea(state *[4]uint32, key *[4]uint32) {
	sum, b0, b1 := uint32(0), state[0], state[1]
	for range 16 {
		sum += 0x9E3779B9
		b0 += (b1<<4 + key[0]) ^ (b1 + sum) ^ (b1>>5 + key[1])
		b1 += (b0<<4 + key[2]) ^ (b0 + sum) ^ (b0>>5 + key[3])
	}
	state[0] += b0
	state[1] += b1
}
