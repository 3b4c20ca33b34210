package luks

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	binarySize = 4096
	minHeader2 = 16 << 10
	maxHeader2 = 4 << 20
)

// copy2 is one of the two copies of a LUKS2 header.
type copy2 struct {
	sequence    uint64
	uuid, label string
	json        []byte
}

// readVersion2 takes the newer of the copies that are whole. The second follows the first;
// where that is damaged, it is looked for where headers of each size would have it.
func readVersion2(d device.Device) (*Header, error) {
	var newest *copy2
	take := func(off int64, magic []byte) (size int64, err error) {
		c, size, err := readCopy(d, off, magic)
		if c != nil && (newest == nil || c.sequence > newest.sequence) {
			newest = c
		}
		return size, err
	}
	size, err := take(0, magic)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if _, err := take(size, secondMagic); err != nil {
			return nil, err
		}
	} else {
		for size := int64(minHeader2); size <= maxHeader2; size *= 2 {
			if _, err := take(size, secondMagic); err != nil {
				return nil, err
			}
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("no copy of the LUKS header is whole: %w", filesystem.ErrCorrupt)
	}
	return newest.header(d)
}

// readCopy returns nil for a copy that is not there or damaged; size is that of one which is whole.
func readCopy(d device.Device, off int64, magic []byte) (*copy2, int64, error) {
	head := make([]byte, binarySize)
	if _, err := d.ReadAt(head, off); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, 0, nil
		}
		return nil, 0, fmt.Errorf("reading the LUKS header: %w", err)
	}
	be := binary.BigEndian
	size := be.Uint64(head[8:])
	if !bytes.Equal(head[:6], magic) || be.Uint16(head[6:]) != 2 || be.Uint64(head[256:]) != uint64(off) ||
		size < minHeader2 || size > maxHeader2 || size&(size-1) != 0 {
		return nil, 0, nil
	}
	raw := make([]byte, size)
	if _, err := d.ReadAt(raw, off); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, 0, nil
		}
		return nil, 0, fmt.Errorf("reading the LUKS header: %w", err)
	}
	newHash, err := hashOf(text(raw[72:104]))
	if err != nil {
		return nil, 0, nil
	}
	h := newHash()
	var stored [64]byte
	copy(stored[:], raw[448:512])
	clear(raw[448:512])
	h.Write(raw)
	if subtle.ConstantTimeCompare(h.Sum(nil), stored[:h.Size()]) != 1 {
		return nil, 0, nil
	}
	text2, _, _ := bytes.Cut(raw[binarySize:], []byte{0})
	return &copy2{sequence: be.Uint64(raw[16:]), label: text(raw[24:72]), uuid: text(raw[168:208]), json: text2}, int64(size), nil
}

// number is an integer that the format writes as a string.
type number int64

func (n *number) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	value, err := strconv.ParseInt(text, 10, 64)
	*n = number(value)
	return err
}

type jsonKDF struct {
	Type       string
	Hash       string
	Salt       []byte
	Iterations int64
	Time       int64
	Memory     int64
	CPUs       int64
}

func (k jsonKDF) kdf() kdf {
	if k.Type == "pbkdf2" {
		return kdf{kind: k.Type, hash: k.Hash, salt: k.Salt, iterations: k.Iterations}
	}
	return kdf{kind: k.Type, salt: k.Salt, iterations: k.Time, memory: k.Memory, threads: k.CPUs}
}

type jsonSlot struct {
	Type    string
	KeySize int `json:"key_size"`
	Area    struct {
		Type, Encryption string
		KeySize          int `json:"key_size"`
		Offset, Size     number
	}
	KDF jsonKDF
	AF  struct {
		Type, Hash string
		Stripes    int
	}
}

type jsonSegment struct {
	Type       string
	Offset     number
	Size       string // a number, or "dynamic"
	Tweak      number `json:"iv_tweak"`
	Encryption string
	SectorSize int64 `json:"sector_size"`
	Integrity  json.RawMessage
	Flags      []string
}

type jsonHeader struct {
	Keyslots map[string]jsonSlot
	Segments map[string]jsonSegment
	Digests  map[string]struct {
		jsonKDF
		Keyslots, Segments []string
		Digest             []byte
	}
	Config struct {
		Requirements struct{ Mandatory []string }
	}
}

func (c *copy2) header(d device.Device) (*Header, error) {
	var parsed jsonHeader
	if err := json.Unmarshal(c.json, &parsed); err != nil {
		return nil, fmt.Errorf("the LUKS header: %w: %w", err, filesystem.ErrCorrupt)
	}
	h := &Header{Version: 2, UUID: c.uuid, Label: c.label, device: d}
	if needs := parsed.Config.Requirements.Mandatory; len(needs) > 0 {
		return nil, fmt.Errorf("LUKS with %q: %w", needs, filesystem.ErrUnsupported)
	}
	if err := h.setPayload(parsed.Segments); err != nil {
		return nil, err
	}
	for name, digest2 := range parsed.Digests {
		if !contains(digest2.Segments, "0") {
			continue
		}
		confirms := digest{kdf: digest2.kdf(), sum: digest2.Digest, slots: map[string]bool{}}
		if n := len(confirms.sum); n < 16 || n > 64 {
			return nil, fmt.Errorf("digest %s of the LUKS header has %d bytes: %w", name, n, filesystem.ErrCorrupt)
		}
		for _, slot := range digest2.Keyslots {
			confirms.slots[slot] = true
		}
		h.digest = append(h.digest, confirms)
	}
	if len(parsed.Keyslots) > maxSlots || len(h.digest) > maxSlots {
		return nil, fmt.Errorf("a LUKS header with %d key slots and %d digests: %w", len(parsed.Keyslots), len(h.digest), filesystem.ErrCorrupt)
	}
	h.setSlots(parsed.Keyslots)
	return h, nil
}

func (h *Header) setPayload(segments map[string]jsonSegment) error {
	s, ok := segments["0"]
	switch {
	case !ok || len(segments) != 1:
		return fmt.Errorf("LUKS with %d segments: %w", len(segments), filesystem.ErrUnsupported)
	case s.Type != "crypt":
		return fmt.Errorf("LUKS segment of type %q: %w", s.Type, filesystem.ErrUnsupported)
	case len(s.Integrity) > 0:
		return fmt.Errorf("LUKS with integrity protection: %w", filesystem.ErrUnsupported)
	case s.SectorSize < 512 || s.SectorSize > 4096 || s.SectorSize&(s.SectorSize-1) != 0:
		return fmt.Errorf("LUKS sectors of %d bytes: %w", s.SectorSize, filesystem.ErrCorrupt)
	}
	all := h.device.Size()
	if s.Offset < 0 || int64(s.Offset) > all {
		return fmt.Errorf("the LUKS segment begins at %d of %d bytes: %w", s.Offset, all, filesystem.ErrCorrupt)
	}
	size := (all - int64(s.Offset)) / s.SectorSize * s.SectorSize
	if s.Size != "dynamic" {
		fixed, err := strconv.ParseInt(s.Size, 10, 64)
		if err != nil || fixed < 0 || fixed > size || fixed%s.SectorSize != 0 {
			return fmt.Errorf("the LUKS segment has %q of %d bytes: %w", s.Size, size, filesystem.ErrCorrupt)
		}
		size = fixed
	}
	h.payload = payload{area{int64(s.Offset), size}, s.Encryption, s.SectorSize, uint64(s.Tweak)}
	return nil
}

// setSlots takes the slots in the order of their names' numbers.
func (h *Header) setSlots(all map[string]jsonSlot) {
	for name, raw := range all {
		s := slot{
			name: name, kdf: raw.KDF.kdf(), keySize: raw.KeySize, areaKeySize: raw.Area.KeySize, encryption: raw.Area.Encryption,
			area: area{int64(raw.Area.Offset), int64(raw.Area.Size)}, stripes: raw.AF.Stripes, splitHash: raw.AF.Hash,
		}
		switch {
		case raw.Type != "luks2" || raw.Area.Type != "raw" || raw.AF.Type != "luks1":
			s.err = fmt.Errorf("type %q, area %q, splitter %q: %w", raw.Type, raw.Area.Type, raw.AF.Type, filesystem.ErrUnsupported)
		default:
			s.err = s.check(h.device)
		}
		h.slots = append(h.slots, s)
	}
	sort.Slice(h.slots, func(i, j int) bool {
		a, b := h.slots[i].name, h.slots[j].name
		return len(a) < len(b) || (len(a) == len(b) && a < b)
	})
}

func contains(list []string, what string) bool {
	for _, s := range list {
		if s == what {
			return true
		}
	}
	return false
}
