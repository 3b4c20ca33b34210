package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/crypto/xts"

	"vmsync/fusefs/filesystem"
)

// sector is what offsets and initialization vectors are counted in.
const sector = 512

// sectors decrypts sectors as dm-crypt does, each on its own.
type sectors struct {
	size  int64
	tweak uint64
	one   func(data []byte, number uint64)
}

// newSectors knows AES in the modes that cryptsetup has had for a default, and their variants.
func newSectors(encryption string, key []byte, size int64, tweak uint64) (*sectors, error) {
	s := &sectors{size: size, tweak: tweak}
	switch encryption {
	case "aes-xts-plain64", "aes-xts-plain":
		c, err := xts.NewCipher(aes.NewCipher, key)
		if err != nil {
			return nil, badKey(encryption, key)
		}
		s.one = func(data []byte, number uint64) { c.Decrypt(data, data, number) }
		if encryption == "aes-xts-plain" {
			s.one = func(data []byte, number uint64) { c.Decrypt(data, data, number&math.MaxUint32) }
		}
		return s, nil
	case "aes-cbc-plain64", "aes-cbc-plain", "aes-cbc-essiv:sha256":
		c, err := aes.NewCipher(key)
		if err != nil {
			return nil, badKey(encryption, key)
		}
		vector := func(_ []byte) {}
		if encryption == "aes-cbc-essiv:sha256" {
			hashed := sha256.Sum256(key)
			essiv, err := aes.NewCipher(hashed[:])
			if err != nil {
				return nil, badKey(encryption, key)
			}
			vector = func(iv []byte) { essiv.Encrypt(iv, iv) }
		}
		mask := uint64(math.MaxUint64)
		if encryption == "aes-cbc-plain" {
			mask = math.MaxUint32
		}
		s.one = func(data []byte, number uint64) {
			iv := make([]byte, aes.BlockSize)
			binary.LittleEndian.PutUint64(iv, number&mask)
			vector(iv)
			cipher.NewCBCDecrypter(c, iv).CryptBlocks(data, data)
		}
		return s, nil
	}
	return nil, fmt.Errorf("encryption %q: %w", encryption, filesystem.ErrUnsupported)
}

func badKey(encryption string, key []byte) error {
	return fmt.Errorf("%s with a key of %d bits: %w", encryption, 8*len(key), filesystem.ErrUnsupported)
}

// decrypt decrypts whole sectors in place, of which the first is at off. Sectors larger than
// 512 bytes have the number of their first 512 bytes.
func (s *sectors) decrypt(data []byte, off int64) error {
	if int64(len(data))%s.size != 0 || off%s.size != 0 {
		return fmt.Errorf("%d bytes at %d are no whole sectors of %d", len(data), off, s.size)
	}
	for len(data) > 0 {
		s.one(data[:s.size], uint64(off/sector)+s.tweak)
		data = data[s.size:]
		off += s.size
	}
	return nil
}
