package blockindex

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Chain is the indexes of an image and of the images it is built on, base first. It
// reads as the disk whose content the last image has. It needs at least one file.
type Chain []*File

// OpenChain opens indexes for reading, base first, with the errors of [Open].
func OpenChain(paths ...string) (Chain, error) {
	var c Chain
	for _, p := range paths {
		f, err := Open(p)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = append(c, f)
	}
	if len(c) == 0 {
		return nil, errors.New("a chain of no block indexes")
	}
	return c, nil
}

// Close closes all files.
func (c Chain) Close() error {
	var errs []error
	for _, f := range c {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Size is the disk's size in bytes.
func (c Chain) Size() int64 { return c[len(c)-1].Size() }

// Lookup is the hash of a block of the disk. It is [Zero] for a block that is absent
// everywhere, and beyond the disk's end. Nothing is seen through an image that ends before
// the block.
func (c Chain) Lookup(block int64) (Hash, error) {
	if block < 0 {
		return Hash{}, fmt.Errorf("block %d", block)
	}
	for i := len(c) - 1; i >= 0 && block < c[i].Blocks(); i-- {
		h, present, err := c[i].Get(block)
		if err != nil || present {
			return h, err
		}
		if block >= c[i].head.inherited {
			break
		}
	}
	return Zero, nil
}

// Blocks yields the blocks of the disk that are not zeros, in ascending order. An error
// is the last that it yields.
func (c Chain) Blocks(ctx context.Context) iter.Seq2[Entry, error] { return c.from(ctx, 0) }

// from is Blocks from a block on.
func (c Chain) from(ctx context.Context, first int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := newWalk(c)
		err := w.flush()
		for n := first / perChunk; err == nil; n++ {
			if err = ctx.Err(); err != nil {
				break
			}
			if n, err = w.next(n); err != nil || n < 0 {
				break
			}
			if err = w.resolve(n); err != nil {
				break
			}
			for i, h := range w.hashes {
				if b := n*perChunk + int64(i); h != Zero && b >= first && !yield(Entry{b, h}, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Digest is that of the disk's content.
func (c Chain) Digest(ctx context.Context) (Digest, error) {
	var d Digest
	for e, err := range c.Blocks(ctx) {
		if err != nil {
			return Digest{}, err
		}
		d.Add(e.Block, e.Hash)
	}
	return d, nil
}

// DigestFrom is what [Chain.Digest] is, made from the digest of the disk that all but
// the last file read as. It takes time for what the last file holds, and for what
// the disk has shrunk by.
func (c Chain) DigestFrom(ctx context.Context, parent Digest) (Digest, error) {
	top, below := c[len(c)-1], c[:len(c)-1]
	d := parent
	for e, err := range top.Present(ctx) {
		if err != nil {
			return Digest{}, err
		}
		old, err := below.Lookup(e.Block)
		if err != nil {
			return Digest{}, err
		}
		// Beyond what is inherited the old block is taken out below.
		if e.Block < top.head.inherited {
			d.Remove(e.Block, old)
		}
		d.Add(e.Block, e.Hash)
	}
	if len(below) == 0 {
		return d, nil
	}
	for e, err := range below.from(ctx, top.head.inherited) {
		if err != nil {
			return Digest{}, err
		}
		d.Remove(e.Block, e.Hash)
	}
	return d, nil
}
