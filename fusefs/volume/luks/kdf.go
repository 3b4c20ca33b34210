package luks

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"golang.org/x/crypto/argon2"

	"vmsync/fusefs/filesystem"
)

// kdf is how a key is derived from a passphrase.
type kdf struct {
	kind       string // "pbkdf2", "argon2i", "argon2id"
	hash       string // of pbkdf2
	salt       []byte
	iterations int64 // of pbkdf2, or Argon2's passes
	memory     int64 // KiB
	threads    int64
}

func (k *kdf) check() error {
	switch k.kind {
	case "pbkdf2":
		if _, err := hashOf(k.hash); err != nil {
			return err
		}
		if k.iterations < 1 || k.iterations > maxIterations {
			return fmt.Errorf("%d iterations, of at most %d: %w", k.iterations, maxIterations, filesystem.ErrUnsupported)
		}
	case "argon2i", "argon2id":
		if k.memory < 8 || k.memory > maxMemory || k.iterations < 1 || k.iterations > maxPasses/k.memory || k.threads < 1 || k.threads > 16 {
			return fmt.Errorf("%s in %d KiB, %d times, %d threads, of at most %d KiB and %d in all times: %w",
				k.kind, k.memory, k.iterations, k.threads, maxMemory, maxPasses, filesystem.ErrUnsupported)
		}
	default:
		return fmt.Errorf("key derivation %q: %w", k.kind, filesystem.ErrUnsupported)
	}
	return nil
}

// inMemory is held while Argon2 takes its memory, so that many devices that are opened at once do
// not take that much each.
var inMemory sync.Mutex

func (k *kdf) derive(secret []byte, size int) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if k.kind != "pbkdf2" {
		inMemory.Lock()
		defer inMemory.Unlock()
	}
	switch k.kind {
	case "argon2i":
		return argon2.Key(secret, k.salt, uint32(k.iterations), uint32(k.memory), uint8(k.threads), uint32(size)), nil
	case "argon2id":
		return argon2.IDKey(secret, k.salt, uint32(k.iterations), uint32(k.memory), uint8(k.threads), uint32(size)), nil
	}
	h, err := hashOf(k.hash)
	if err != nil {
		return nil, err
	}
	return pbkdf2.Key(h, string(secret), k.salt, int(k.iterations), size)
}

func hashOf(name string) (func() hash.Hash, error) {
	switch name {
	case "sha1":
		return sha1.New, nil
	case "sha224":
		return sha256.New224, nil
	case "sha256":
		return sha256.New, nil
	case "sha384":
		return sha512.New384, nil
	case "sha512":
		return sha512.New, nil
	}
	return nil, fmt.Errorf("hash %q: %w", name, filesystem.ErrUnsupported)
}

// merge is the anti-forensic splitter's way back (LUKS1 specification, section 2.4): all
// stripes but the last are mixed, diffused in between, and mask the last.
func merge(split []byte, size, stripes int, name string) ([]byte, error) {
	h, err := hashOf(name)
	if err != nil {
		return nil, err
	}
	key := make([]byte, size)
	for i := range stripes {
		for j := range key {
			key[j] ^= split[i*size+j]
		}
		if i < stripes-1 {
			diffuse(key, h())
		}
	}
	return key, nil
}

// diffuse replaces each piece of the key, as long as the hash, by the hash of the piece and its number.
func diffuse(key []byte, h hash.Hash) {
	var number [4]byte
	for i := 0; i*h.Size() < len(key); i++ {
		piece := key[i*h.Size() : min((i+1)*h.Size(), len(key))]
		binary.BigEndian.PutUint32(number[:], uint32(i))
		h.Reset()
		h.Write(number[:])
		h.Write(piece)
		copy(piece, h.Sum(nil))
	}
}
