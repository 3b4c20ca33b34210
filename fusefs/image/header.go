package image

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of the format (qcow2.txt, Header) and of qemu, which makes nothing beyond them.
const (
	headerV2       = 72
	headerV3       = 104 // at least
	minClusterBits = 9
	maxClusterBits = 21
	minExtended    = 14 // cluster bits with extended L2 entries
	subclusterBits = 5  // 32 to a cluster
	maxL1Entries   = 32 << 20 / 8
	maxBackingName = 1023
	maxExtensions  = 256
	maxFeatureName = 4096 // bytes of the feature name table that are looked at
)

// Bits of the incompatible features.
const (
	featureDirty = 1 << iota // refcounts only, which no reader needs
	featureCorrupt
	featureDataFile
	featureCompression
	featureExtended
)

const (
	compressionZlib = 0
	compressionZstd = 1
)

const (
	extensionBackingFormat = 0xe2792aca
	extensionFeatureNames  = 0x6803f857
)

const (
	magic = "QFI\xfb"

	// offsetMask is where L1 and L2 entries keep an offset into the file.
	offsetMask = 0x00fffffffffffe00
)

// header is what reading needs of an image's first cluster.
type header struct {
	size          int64 // bytes of the disk
	clusterBits   uint
	tableBits     uint // log2 of the bytes that an L2 table maps
	extended      bool // extended L2 entries
	zeroFlag      bool // bit 0 of an L2 entry has a meaning; without, it is damage
	compression   byte
	l1Offset      int64
	l1Entries     int64 // those that the size needs
	backing       string
	backingFormat string
}

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

// granule is the size in which the image maps its disk.
func (h *header) granule() int64 {
	if h.extended {
		return 1 << (h.clusterBits - subclusterBits)
	}
	return h.clusterSize()
}

// entryBits is log2 of the size of an L2 entry.
func (h *header) entryBits() uint {
	if h.extended {
		return 4
	}
	return 3
}

// readHeader reads and checks the header of an image in a file of fileSize bytes.
func readHeader(r io.ReaderAt, fileSize int64) (*header, error) {
	raw := make([]byte, headerV3+1)
	n, err := r.ReadAt(raw, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < headerV2 || string(raw[:4]) != magic {
		return nil, fmt.Errorf("does not start like a qcow2 image: %w", ErrCorrupt)
	}
	clear(raw[n:])
	length, features, err := checkVersion(raw)
	if err != nil {
		return nil, err
	}
	h := &header{
		clusterBits: uint(binary.BigEndian.Uint32(raw[20:])),
		extended:    features&featureExtended != 0,
		zeroFlag:    length >= headerV3,
	}
	if h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits || h.extended && h.clusterBits < minExtended {
		return nil, fmt.Errorf("clusters of 2^%d bytes: %w", h.clusterBits, ErrCorrupt)
	}
	if length > h.clusterSize() {
		return nil, fmt.Errorf("a header of %d bytes: %w", length, ErrCorrupt)
	}
	if method := binary.BigEndian.Uint32(raw[32:]); method != 0 {
		return nil, fmt.Errorf("encryption (method %d): %w", method, ErrUnsupported)
	}
	names := map[int]string{}
	if err := h.readBacking(r, raw, length, names); err != nil {
		return nil, err
	}
	if err := checkFeatures(features, names); err != nil {
		return nil, err
	}
	if length > headerV3 {
		h.compression = raw[headerV3]
	}
	if err := h.checkCompression(features); err != nil {
		return nil, err
	}
	return h, h.checkTable(raw, fileSize)
}

// checkVersion returns the header's length and its incompatible features.
func checkVersion(raw []byte) (length int64, features uint64, err error) {
	switch version := binary.BigEndian.Uint32(raw[4:]); version {
	case 2:
		return headerV2, 0, nil
	case 3:
		length = int64(binary.BigEndian.Uint32(raw[100:]))
		if length < headerV3 || length%8 != 0 {
			return 0, 0, fmt.Errorf("a header of %d bytes: %w", length, ErrCorrupt)
		}
		return length, binary.BigEndian.Uint64(raw[72:]), nil
	default:
		return 0, 0, fmt.Errorf("qcow2 version %d: %w", version, ErrUnsupported)
	}
}

func checkFeatures(features uint64, names map[int]string) error {
	switch {
	case features&featureCorrupt != 0:
		return fmt.Errorf("marked as corrupt by who wrote to it last; see qemu-img check: %w", ErrCorrupt)
	case features&featureDataFile != 0:
		return fmt.Errorf("external data file: %w", ErrUnsupported)
	}
	for bit := range 64 {
		if features&^(featureDirty|featureCompression|featureExtended)&(1<<bit) == 0 {
			continue
		}
		if names[bit] != "" {
			return fmt.Errorf("incompatible feature %d, %q: %w", bit, names[bit], ErrUnsupported)
		}
		return fmt.Errorf("incompatible feature %d: %w", bit, ErrUnsupported)
	}
	return nil
}

func (h *header) checkCompression(features uint64) error {
	if (features&featureCompression != 0) != (h.compression != compressionZlib) {
		return fmt.Errorf("compression type %d contradicts the features: %w", h.compression, ErrCorrupt)
	}
	if h.compression > compressionZstd {
		return fmt.Errorf("compression type %d: %w", h.compression, ErrUnsupported)
	}
	return nil
}

// checkTable takes the disk's size and the L1 table's place.
func (h *header) checkTable(raw []byte, fileSize int64) error {
	size, offset := binary.BigEndian.Uint64(raw[24:]), binary.BigEndian.Uint64(raw[40:])
	entries := uint64(binary.BigEndian.Uint32(raw[36:]))
	h.tableBits = 2*h.clusterBits - h.entryBits()
	needed := size >> h.tableBits
	if size&(1<<h.tableBits-1) != 0 {
		needed++
	}
	switch {
	case needed > maxL1Entries:
		return fmt.Errorf("a disk of %d bytes in clusters of %d: %w", size, h.clusterSize(), ErrCorrupt)
	case needed > entries:
		return fmt.Errorf("an L1 table of %d entries for a disk that needs %d: %w", entries, needed, ErrCorrupt)
	case needed > 0 && (offset == 0 || offset%uint64(h.clusterSize()) != 0 || offset > uint64(fileSize) || needed*8 > uint64(fileSize)-offset):
		return fmt.Errorf("L1 table at %d of %d bytes: %w", offset, fileSize, ErrCorrupt)
	}
	h.size, h.l1Offset, h.l1Entries = int64(size), int64(offset), int64(needed)
	return nil
}

// readBacking reads the header extensions and the backing file's name, which follows them in
// the first cluster. It fills in the names of features.
func (h *header) readBacking(r io.ReaderAt, raw []byte, length int64, names map[int]string) error {
	at, size := binary.BigEndian.Uint64(raw[8:]), int64(binary.BigEndian.Uint32(raw[16:]))
	end := h.clusterSize()
	if at != 0 {
		if at < uint64(length) || at > uint64(end) || size > maxBackingName || size > end-int64(at) {
			return fmt.Errorf("backing file name of %d bytes at %d: %w", size, at, ErrCorrupt)
		}
		name := make([]byte, size)
		if _, err := r.ReadAt(name, int64(at)); err != nil {
			return cutOff("backing file name", err)
		}
		h.backing, end = string(name), int64(at)
	}
	return h.readExtensions(io.NewSectionReader(r, length, end-length), names)
}

// readExtensions reads header extensions to their end mark or the end of their area.
func (h *header) readExtensions(area *io.SectionReader, names map[int]string) error {
	b := bufio.NewReader(area)
	left := area.Size()
	for range maxExtensions {
		if left < 8 {
			return nil
		}
		var head [8]byte
		if _, err := io.ReadFull(b, head[:]); err != nil {
			return cutOff("header extensions", err)
		}
		left -= 8
		kind, size := binary.BigEndian.Uint32(head[:]), int64(binary.BigEndian.Uint32(head[4:]))
		if kind == 0 {
			return nil
		}
		if size > left {
			return fmt.Errorf("header extension %#x of %d bytes: %w", kind, size, ErrCorrupt)
		}
		padded := min((size+7)&^7, left)
		var data []byte
		if kind == extensionBackingFormat || kind == extensionFeatureNames {
			data = make([]byte, min(size, maxFeatureName))
			if _, err := io.ReadFull(b, data); err != nil {
				return cutOff("header extensions", err)
			}
		}
		if _, err := b.Discard(int(padded) - len(data)); err != nil {
			return cutOff("header extensions", err)
		}
		left -= padded
		switch kind {
		case extensionBackingFormat:
			h.backingFormat = string(data)
		case extensionFeatureNames:
			nameFeatures(data, names)
		}
	}
	return fmt.Errorf("more than %d header extensions: %w", maxExtensions, ErrCorrupt)
}

// nameFeatures reads the incompatible ones of a feature name table.
func nameFeatures(table []byte, names map[int]string) {
	const size = 48
	for ; len(table) >= size; table = table[size:] {
		if table[0] == 0 && table[1] < 64 {
			names[int(table[1])] = strings.TrimRight(string(table[2:size]), "\x00")
		}
	}
}

// cutOff makes damage of an end of file where there must be something.
func cutOff(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s cut off by the end of the file: %w", what, ErrCorrupt)
	}
	return fmt.Errorf("%s: %w", what, err)
}
