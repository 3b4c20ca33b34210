package replicator

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"vmsync/internal/blockindex"
)

// ChangedSince stands, in an index of what a source held at a checkpoint, for a block that
// has changed since. It is the hash of no block.
var ChangedSince = blockindex.Hash{15: 2}

// partSize is how much of an index goes at once, in bytes.
const partSize = 1 << 20

// ReadPart reads the part of an index's file that begins at an offset, past the hole that
// may be there. Its Disk is the caller's to set.
func ReadPart(path string, offset int64) (*KnownPart, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	at, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return &KnownPart{Offset: size, Size: size, Next: size}, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, min(partSize, size-at))
	if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(len(buf))), buf); err != nil {
		return nil, err
	}
	return &KnownPart{Offset: at, Data: buf, Size: size, Next: at + int64(len(buf))}, nil
}
