package blockindex

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

const (
	magic      = "vmsyncIX"
	version    = 1
	headerSize = 4096
	// hashedSize is the part of the header that says something. With its checksum it
	// lies in one sector, so that a power cut leaves the old header or the new one.
	hashedSize = 40
	entrySize  = 16
)

// header is the first page of a file.
type header struct {
	size int64 // bytes of the disk
	// inherited is the number of leading blocks that the backing file shows through
	// when they are absent; others are zero then. At most the number of blocks.
	inherited int64
}

// fileSize is the length of an index file with that many entries.
func fileSize(entries int64) int64 { return headerSize + entries*entrySize }

func (h header) blocks() int64 { return Blocks(h.size) }

// encode makes the bytes of a header.
func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], BlockSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.size))
	binary.LittleEndian.PutUint64(b[24:], 0) // flags
	binary.LittleEndian.PutUint64(b[32:], uint64(h.inherited))
	binary.LittleEndian.PutUint64(b[hashedSize:], xxh3.Hash(b[:hashedSize]))
	return b
}

// parseHeader reads what encode wrote. Its error is an [ErrFormat] or an [ErrVersion].
func parseHeader(b []byte) (header, error) {
	bad := func(format string, args ...any) (header, error) {
		return header{}, fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
	}
	if len(b) != headerSize || string(b[:len(magic)]) != magic {
		return bad("its beginning is another")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, fmt.Errorf("%w: %d, where this program knows %d", ErrVersion, v, version)
	}
	size, inherited := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[32:])
	rest := b[hashedSize+8:]
	switch {
	case binary.LittleEndian.Uint64(b[hashedSize:]) != xxh3.Hash(b[:hashedSize]):
		return bad("its header does not match its checksum")
	case binary.LittleEndian.Uint32(b[12:]) != BlockSize:
		return bad("blocks of %d bytes", binary.LittleEndian.Uint32(b[12:]))
	case binary.LittleEndian.Uint64(b[24:]) != 0:
		return bad("unknown flags")
	case !bytes.Equal(rest, make([]byte, len(rest))):
		return bad("unknown fields in its header")
	case size < 1 || size > MaxSize:
		return bad("a disk of %d bytes", size)
	case inherited > uint64(Blocks(int64(size))):
		return bad("%d blocks of the backing file on a disk of %d bytes", inherited, size)
	}
	return header{int64(size), int64(inherited)}, nil
}
