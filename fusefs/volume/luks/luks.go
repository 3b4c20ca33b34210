// Package luks opens devices that LUKS encrypted, of version 1 and 2 (cryptsetup's "LUKS
// On-Disk Format Specification"), with passphrases or key files.
//
// It must never hand out bytes under a key that the header's digest does not confirm, and
// it must never let a header say how much memory or time it takes: both are bounded.
package luks

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// ErrLocked: no key that was given opens the device.
var ErrLocked = errors.New("encrypted: a key file opens it")

// Bounds on what a header asks for.
const (
	maxKeySize = 128 // bytes: two keys of AES-256 are 64
	// maxIterations of PBKDF2 take a core about a minute.
	maxIterations = 1 << 26
	// maxMemory is what cryptsetup takes for Argon2 at most unless it is told otherwise.
	maxMemory = 1 << 20 // KiB
	// maxPasses bounds Argon2's passes over its memory: 64 GiB in all.
	maxPasses  = 64 << 20 // KiB
	maxStripes = 4000     // of the anti-forensic splitter, in all known headers
	maxSlots   = 32
)

var magic, secondMagic = []byte("LUKS\xba\xbe"), []byte("SKUL\xba\xbe")

// Header is what a device says about its encryption.
type Header struct {
	Version int
	UUID    string
	Label   string // "" where there is none; version 2 alone has one

	device  device.Device
	slots   []slot
	digest  []digest
	payload payload
}

// slot is a copy of the volume key, encrypted under a passphrase.
type slot struct {
	name        string
	err         error // why it cannot be used
	kdf         kdf
	area        area
	encryption  string
	areaKeySize int // bytes of the key that encrypts the copy
	keySize     int // bytes of the volume key
	stripes     int
	splitHash   string
}

// area is a range of bytes of the device.
type area struct{ off, size int64 }

// digest tells whether a volume key is right.
type digest struct {
	kdf   kdf
	sum   []byte
	slots map[string]bool // whose keys it confirms; nil means all
}

// payload is the encrypted data.
type payload struct {
	area       area
	encryption string
	sectorSize int64
	tweak      uint64 // added to the number of a sector
}

// Read reads the header of a device that probe.Kind calls crypto_LUKS.
func Read(d device.Device) (*Header, error) {
	head := make([]byte, 8)
	if _, err := d.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the LUKS header: %w", err)
	}
	if bytes.Equal(head[:6], magic) && head[6] == 0 && head[7] == 1 {
		return readVersion1(d)
	}
	return readVersion2(d)
}

// Open returns what the device holds, decrypted, in a device for many goroutines. Each key
// is tried with each slot; keys are taken as they are, with whatever line end they have.
// Where none fits, the error wraps ErrLocked.
func (h *Header) Open(keys [][]byte) (device.Device, error) {
	if h.payload.area.size < 0 {
		return nil, fmt.Errorf("its encrypted data would begin after its end: %w", filesystem.ErrCorrupt)
	}
	if h.payload.area.off == 0 {
		return nil, fmt.Errorf("a header whose data lie on another device: %w", filesystem.ErrUnsupported)
	}
	if len(keys) == 0 {
		return nil, ErrLocked
	}
	var skipped []error
	for _, s := range h.slots {
		if s.err != nil {
			skipped = append(skipped, fmt.Errorf("key slot %s: %w", s.name, s.err))
			continue
		}
		for _, key := range keys {
			volumeKey, err := s.unlock(h.device, key)
			if err != nil {
				skipped = append(skipped, fmt.Errorf("key slot %s: %w", s.name, err))
				break
			}
			ok, err := h.confirm(s.name, volumeKey)
			if err != nil {
				return nil, err
			}
			if ok {
				return h.decrypted(volumeKey)
			}
		}
	}
	return nil, errors.Join(append([]error{fmt.Errorf("%w, but none of those given (%d)", ErrLocked, len(keys))}, skipped...)...)
}

// confirm says whether a digest knows the key.
func (h *Header) confirm(slot string, key []byte) (bool, error) {
	for _, d := range h.digest {
		if d.slots != nil && !d.slots[slot] {
			continue
		}
		sum, err := d.kdf.derive(key, len(d.sum))
		if err != nil {
			return false, fmt.Errorf("the digest of the volume key: %w", err)
		}
		if bytes.Equal(sum, d.sum) {
			return true, nil
		}
	}
	return false, nil
}

func (s *slot) unlock(d device.Device, passphrase []byte) ([]byte, error) {
	areaKey, err := s.kdf.derive(passphrase, s.areaKeySize)
	if err != nil {
		return nil, err
	}
	c, err := newSectors(s.encryption, areaKey, sector, 0)
	if err != nil {
		return nil, err
	}
	length := s.keySize * s.stripes
	padded := (length + sector - 1) / sector * sector
	split := make([]byte, padded)
	if _, err := d.ReadAt(split, s.area.off); err != nil {
		return nil, fmt.Errorf("reading its area: %w", err)
	}
	if err := c.decrypt(split, 0); err != nil {
		return nil, err
	}
	return merge(split[:length], s.keySize, s.stripes, s.splitHash)
}

// check refuses slots that would take too much, or lie outside of the device.
func (s *slot) check(d device.Device) error {
	length := int64(s.keySize) * int64(s.stripes)
	switch {
	case s.keySize <= 0 || s.keySize > maxKeySize || s.areaKeySize <= 0 || s.areaKeySize > maxKeySize:
		return fmt.Errorf("a key of %d bytes under one of %d: %w", s.keySize, s.areaKeySize, filesystem.ErrUnsupported)
	case s.stripes <= 0 || s.stripes > maxStripes:
		return fmt.Errorf("a key in %d stripes: %w", s.stripes, filesystem.ErrUnsupported)
	case s.area.off < 0 || s.area.off > d.Size() || length+sector > d.Size()-s.area.off:
		return fmt.Errorf("%d bytes at %d: %w", length, s.area.off, device.ErrOutOfRange)
	}
	return s.kdf.check()
}
