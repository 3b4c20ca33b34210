package blockindex

import (
	"context"
	"errors"
	"os"
)

// Merge makes the index at parent that of its image after the image at child was
// merged into it: it gets the child's size, and the child's entries over its own. It
// is durable when Merge returns. A Merge that was broken off at any point is completed by
// another of the same two files, and one that was completed is not changed by it.
// The child's file is not changed.
//
// For a child whose disk has another size than the parent's, the block in which the
// smaller of the two ends must be present in the child unless it ends on a block's.
func Merge(ctx context.Context, parent, child string) error {
	c, err := Open(child)
	if err != nil {
		return err
	}
	defer c.Close()
	// A Merge that was broken off may have left the file with the length before, between or
	// after the two steps that change it.
	p, err := open(parent, os.O_RDWR, func(h header, length int64) bool {
		return h.fits(length) || c.head.fits(length) || length == fileSize(c.head.inherited)
	})
	if err != nil {
		return err
	}
	return errors.Join(p.take(ctx, c), p.Close())
}

// take is Merge on open files.
func (x *File) take(ctx context.Context, child *File) error {
	info, err := x.f.Stat()
	if err != nil {
		return x.wrap(err)
	}
	// What the child does not show of this file goes: cutting and extending leaves a
	// hole.
	if cut := fileSize(child.head.inherited); info.Size() > cut {
		if err := x.f.Truncate(cut); err != nil {
			return x.wrap(err)
		}
	}
	if err := x.f.Truncate(fileSize(child.Blocks())); err != nil {
		return x.wrap(err)
	}
	// The parent's own end, too, hides what is below: what it inherits never grows.
	merged := header{child.Size(), min(x.head.inherited, child.head.inherited)}
	if merged != x.head {
		// Lest a power cut leaves the new header and not the new length.
		if err := x.f.Sync(); err != nil {
			return x.wrap(err)
		}
		if _, err := x.f.WriteAt(merged.encode(), 0); err != nil {
			return x.wrap(err)
		}
		x.head = merged
	}
	for e, err := range child.Present(ctx) {
		if err != nil {
			return err
		}
		if err := x.Set(e.Block, e.Hash); err != nil {
			return err
		}
	}
	return x.Sync()
}
