package blockindex

import (
	"context"
	"errors"
	"iter"
	"os"
)

// Diff yields, in ascending order, the blocks whose hashes differ between two disks;
// beyond a disk's end it counts as zeros. Where both chains begin with the same files, as
// those of two states of one disk do, only the others are looked through. An error is
// the last that it yields.
func Diff(ctx context.Context, a, b Chain) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		if err := diff(ctx, a, b, yield); err != nil && !errors.Is(err, errEnough) {
			yield(0, err)
		}
	}
}

// errEnough ends a diff whose caller wants no more.
var errEnough = errors.New("enough")

func diff(ctx context.Context, a, b Chain, yield func(int64, error) bool) error {
	wa, wb := newWalk(a), newWalk(b)
	if err := errors.Join(wa.flush(), wb.flush()); err != nil {
		return err
	}
	shared, err := commonFiles(a, b)
	if err != nil {
		return err
	}
	// From here on one disk may show what they share and the other not.
	apart := min(a[shared:].visible(), b[shared:].visible()) / perChunk
	next := func(w *walk, n int64) (int64, error) {
		at, err := w.nextOf(n, shared)
		if err != nil || at >= 0 && at <= apart {
			return at, err
		}
		return w.next(max(n, apart))
	}
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		na, err := next(wa, n)
		if err != nil {
			return err
		}
		nb, err := next(wb, n)
		if err != nil {
			return err
		}
		if n = na; na < 0 || nb >= 0 && nb < na {
			n = nb
		}
		if n < 0 {
			return nil
		}
		if err := errors.Join(wa.resolve(n), wb.resolve(n)); err != nil {
			return err
		}
		for i := range wa.hashes {
			if wa.hashes[i] != wb.hashes[i] && !yield(n*perChunk+int64(i), nil) {
				return errEnough
			}
		}
	}
}

// visible is the number of leading blocks of what lies below that can be seen through
// these files.
func (c Chain) visible() int64 {
	v := int64(1) << 62
	for _, f := range c {
		v = min(v, f.Blocks(), f.head.inherited)
	}
	return v
}

// commonFiles is how many files both chains begin with.
func commonFiles(a, b Chain) (int, error) {
	for i := range min(len(a), len(b)) {
		sa, err := a[i].f.Stat()
		if err != nil {
			return 0, a[i].wrap(err)
		}
		sb, err := b[i].f.Stat()
		if err != nil {
			return 0, b[i].wrap(err)
		}
		if !os.SameFile(sa, sb) {
			return i, nil
		}
	}
	return min(len(a), len(b)), nil
}
