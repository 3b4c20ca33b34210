package apply

import (
	"context"
	"errors"
	"fmt"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// Index is the block index to make of the image that a disk is written to.
type Index struct {
	Path string
	// Parents are the indexes of the images that the image is built on, base first.
	// Without any, what is not written must read as zeros; a disk that is not incremental
	// has none.
	Parents []string
	// ParentContent is the digest of what Parents read as; nil if it is not known.
	ParentContent *blockindex.Digest
	// Resume keeps the file that is there, and what it says of the image.
	Resume bool
}

// indexer makes the index of one disk. Whole blocks are hashed as they come; those of which
// a frame brings a part are remembered, and read back when everything is written.
// The nil *indexer is that of a disk without an index, and does nothing.
type indexer struct {
	disk  *Disk
	chain blockindex.Chain // the parents, and file last
	file  *blockindex.File
	left  blockSet // to be read back
}

// openIndexers opens or makes the disks' indexes. After an error, too, what it returns
// is to be closed.
func openIndexers(disks []Disk) ([]*indexer, error) {
	indexers := make([]*indexer, len(disks))
	for i := range disks {
		if disks[i].Index == nil {
			continue
		}
		indexers[i] = &indexer{disk: &disks[i]}
		if err := indexers[i].open(); err != nil {
			return indexers, indexers[i].fail(err)
		}
	}
	return indexers, nil
}

func closeIndexers(indexers []*indexer) {
	for _, x := range indexers {
		if x != nil {
			// What matters of the index was synced before; the others were only read.
			_ = x.chain.Close()
		}
	}
}

func (x *indexer) open() error {
	spec, size := x.disk.Index, x.disk.Size
	if len(spec.Parents) > 0 {
		var err error
		if x.chain, err = blockindex.OpenChain(spec.Parents...); err != nil {
			return err
		}
		// The last block of the smaller disk is of another length on the larger one.
		below := x.chain.Size()
		if end := min(below, size); below != size && end%blockindex.BlockSize != 0 {
			x.left.add(end / blockindex.BlockSize)
		}
	}
	var err error
	if spec.Resume {
		x.file, err = blockindex.OpenWritable(spec.Path)
	} else {
		x.file, err = blockindex.Create(spec.Path, size)
	}
	if err != nil {
		return err
	}
	x.chain = append(x.chain, x.file)
	if x.file.Size() != size {
		return fmt.Errorf("block index %s is of a disk of %d bytes, not %d", spec.Path, x.file.Size(), size)
	}
	return nil
}

func (x *indexer) fail(err error) error {
	if err == nil {
		return nil
	}
	return &Error{x.disk.Name, err}
}

// set notes a block. Where nothing is below it, zeros need no entry.
func (x *indexer) set(block int64, h blockindex.Hash) error {
	if h == blockindex.Zero && len(x.chain) == 1 {
		h = blockindex.Hash{}
	}
	return x.file.Set(block, h)
}

// frame notes what a frame brings. It may be called for several frames at once: their
// extents are disjoint.
func (x *indexer) frame(f *stream.Frame, payload []byte) error {
	// Zeros of a disk that is not incremental are not written: they are there.
	if x == nil || f.Kind == stream.KindZero && !x.disk.Incremental {
		return nil
	}
	for _, e := range f.Extents {
		if f.Kind == stream.KindZero {
			if err := x.extent(e, nil); err != nil {
				return x.fail(err)
			}
			continue
		}
		if err := x.extent(e, payload[:e.Length]); err != nil {
			return x.fail(err)
		}
		payload = payload[e.Length:]
	}
	return nil
}

// extent notes an extent, of zeros if data is nil.
func (x *indexer) extent(e stream.Extent, data []byte) error {
	for off := e.Offset; off < e.End(); {
		block := off / blockindex.BlockSize
		from, to := x.bounds(block)
		end := min(to, e.End())
		switch {
		case off != from || end != to:
			x.left.add(block)
		case data == nil:
			if err := x.set(block, blockindex.Zero); err != nil {
				return err
			}
		default:
			if err := x.set(block, blockindex.Sum(data[off-e.Offset:end-e.Offset])); err != nil {
				return err
			}
		}
		off = end
	}
	return nil
}

// bounds is the range of the disk that is a block's.
func (x *indexer) bounds(block int64) (from, to int64) {
	from = block * blockindex.BlockSize
	return from, min(from+blockindex.BlockSize, x.disk.Size)
}

// readBatch is how many blocks are read back at once.
const readBatch = 16

// readBack notes blocks that frames brought parts of, until none is left. All of
// them must be written and flushed. Several goroutines may call it, each with a connection
// of its own.
func (x *indexer) readBack(c *nbdconn.Conn) error {
	if x == nil {
		return nil
	}
	var blocks []int64
	var ops []nbdconn.Op
	var buf []byte
	for {
		if blocks = x.left.take(blocks[:0], readBatch); len(blocks) == 0 {
			return nil
		}
		if buf == nil {
			buf = make([]byte, readBatch*blockindex.BlockSize)
		}
		ops = ops[:0]
		for i, b := range blocks {
			from, to := x.bounds(b)
			ops = append(ops, nbdconn.Op{Kind: nbdconn.Read, Offset: from, Buf: buf[i*blockindex.BlockSize:][:to-from]})
		}
		if err := c.Do(ops); err != nil {
			return x.fail(fmt.Errorf("reading back: %w", err))
		}
		for i, b := range blocks {
			if err := x.set(b, blockindex.Sum(ops[i].Buf)); err != nil {
				return x.fail(err)
			}
		}
	}
}

// finish makes the index durable and returns the digest of the disk's content.
func (x *indexer) finish(ctx context.Context) (blockindex.Digest, error) {
	if x == nil {
		return blockindex.Digest{}, nil
	}
	if err := x.file.Sync(); err != nil {
		return blockindex.Digest{}, x.fail(err)
	}
	var d blockindex.Digest
	var err error
	if p := x.disk.Index.ParentContent; p != nil {
		d, err = x.chain.DigestFrom(ctx, *p)
	} else {
		d, err = x.chain.Digest(ctx)
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		return d, context.Cause(ctx)
	}
	return d, x.fail(err)
}
