package nbdproxy

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Extents tells the block status of content that is read through an [io.ReaderAt], in
// base:allocation: flags [StateHole] and [StateZero], or 0 for data. Its rules are those of
// [StatusReporter].
type Extents func(ctx context.Context, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error)

// NewReaderAt returns a backend for a read-only export of the size bytes that r
// holds. It is a [StatusReporter] if extents is not nil. Like r and extents, which
// remain the caller's, it can be used by many goroutines at once.
func NewReaderAt(r io.ReaderAt, size int64, extents Extents) Backend {
	b := &readerAt{ReaderAt: r, size: size}
	if extents == nil {
		return b
	}
	return &readerAtWithExtents{readerAt: b, extents: extents}
}

type readerAt struct {
	io.ReaderAt
	size int64
}

func (b *readerAt) Size() (int64, error)               { return b.size, nil }
func (b *readerAt) WriteAt([]byte, int64) (int, error) { return 0, unix.EROFS }
func (b *readerAt) Sync() error                        { return nil }

type readerAtWithExtents struct {
	*readerAt
	extents Extents
}

func (b *readerAtWithExtents) Contexts() []string { return []string{baseAllocation} }

func (b *readerAtWithExtents) BlockStatus(ctx context.Context, metaContext string, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error) {
	if metaContext != baseAllocation {
		return entries, fmt.Errorf("metadata context %q: %w", metaContext, errors.ErrUnsupported)
	}
	return b.extents(ctx, entries, offset, length, max)
}
