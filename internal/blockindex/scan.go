package blockindex

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/sys/unix"
)

// perChunk is how many entries a walk reads at once: 64 KiB of file, 256 MiB of disk.
const perChunk = 4096

// Present yields the blocks that the image says something about, in ascending order.
// Holes of the file are skipped. An error is the last that it yields.
func (x *File) Present(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := x.flush()
		buf := make([]byte, perChunk*entrySize)
		for c := int64(0); err == nil; c++ {
			if err = ctx.Err(); err != nil {
				break
			}
			if c, err = x.nextChunk(c); err != nil || c < 0 {
				break
			}
			if err = x.readEntries(buf, c*perChunk); err != nil {
				break
			}
			for i := range int64(perChunk) {
				if h := Hash(buf[i*entrySize:]); h != absent && !yield(Entry{c*perChunk + i, h}, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// nextChunk is the first chunk from c on that is no hole altogether, or -1.
func (x *File) nextChunk(c int64) (int64, error) {
	if c*perChunk >= x.Blocks() {
		return -1, nil
	}
	var at int64
	var err error
	for {
		at, err = unix.Seek(int(x.f.Fd()), fileSize(c*perChunk), unix.SEEK_DATA)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ENXIO):
		return -1, nil
	case errors.Is(err, unix.EINVAL):
		return c, nil // a file system that knows no holes
	case err != nil:
		return 0, x.wrap(err)
	}
	// The file may have become longer than it was when it was opened.
	if c = (at - headerSize) / entrySize / perChunk; c*perChunk >= x.Blocks() {
		return -1, nil
	}
	return c, nil
}
