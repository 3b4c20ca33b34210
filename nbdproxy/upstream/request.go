package upstream

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vmsync/nbdproxy"
	"vmsync/nbdproxy/nbdconn"
)

// Errors of the methods of this file wrap the server's unix.Errno, or say that
// the connection is lost.

// maxZero bounds one request without payload: below the protocol's 32 bits, and a
// multiple of every cluster size.
const maxZero = 1 << 30

// conn is a connection with the fewest requests under way; the caller gives it
// back by calling release.
func (b *Backend) conn() (c *nbdconn.Shared, release func()) {
	least := 0
	for i := range b.load {
		if b.load[i].Load() < b.load[least].Load() {
			least = i
		}
	}
	b.load[least].Add(1)
	return b.conns[least], func() { b.load[least].Add(-1) }
}

// with runs a request on a connection.
func (b *Backend) with(f func(*nbdconn.Shared) error) error {
	c, release := b.conn()
	defer release()
	return b.explain(f(c))
}

// explain says where an error comes from.
func (b *Backend) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, nbdconn.ErrDead) && b.Err() != nil {
		return b.Err() // the connection that was lost first
	}
	return fmt.Errorf("%v: %w", &b.config, err)
}

// Size is the export's size in bytes.
func (b *Backend) Size() (int64, error) { return b.conns[0].Size(), nil }

// ReadAt fills p, at most 32 MiB; after an error p may hold anything.
func (b *Backend) ReadAt(p []byte, offset int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	err := b.with(func(c *nbdconn.Shared) error {
		if err := c.ReadAt(p, offset); err != nil {
			return err
		}
		from, length := b.warmth.Read(offset, int64(len(p)), c.Size(), c.Sizes().Maximum)
		if length > 0 {
			_ = c.ReadAt(make([]byte, length), from) // nobody asked for this
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt writes p, at most 32 MiB.
func (b *Backend) WriteAt(p []byte, offset int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.with(func(c *nbdconn.Shared) error { return c.WriteAt(p, offset) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Features are the server's.
func (b *Backend) Features() nbdproxy.Features {
	f := b.conns[0].Features()
	return nbdproxy.Features{Zero: f.Zero, FastZero: f.FastZero, Trim: f.Trim, Cache: f.Cache, Flush: f.Flush}
}

// Sync makes durable what was written, over whichever connection: the server
// promises that one flush covers all.
func (b *Backend) Sync() error { return b.with((*nbdconn.Shared).Flush) }

// Contexts are the metadata contexts that the server has.
func (b *Backend) Contexts() []string { return b.contexts }

// BlockStatus implements [nbdproxy.StatusReporter].
func (b *Backend) BlockStatus(_ context.Context, metaContext string, entries []nbdproxy.StatusEntry, offset, length int64, most int) ([]nbdproxy.StatusEntry, error) {
	c := b.status[metaContext]
	if c == nil {
		return entries, fmt.Errorf("%v has no metadata context %q: %w", &b.config, metaContext, unix.EINVAL)
	}
	got, err := c.BlockStatus(metaContext, offset, length, most == 1)
	if err != nil {
		return entries, b.explain(err)
	}
	// A server may say more than it was asked.
	for _, s := range got[:min(len(got), most)] {
		n := min(int64(s.Length), length)
		if n == 0 {
			break
		}
		entries = append(entries, nbdproxy.StatusEntry{Length: n, Flags: s.Flags})
		length -= n
	}
	return entries, nil
}

// Cache passes the hint on.
func (b *Backend) Cache(ctx context.Context, offset, length int64) error {
	return b.pieces(ctx, offset, length, maxPayload, (*nbdconn.Shared).Cache)
}

// Trim passes the hint on.
func (b *Backend) Trim(ctx context.Context, offset, length int64) error {
	return b.pieces(ctx, offset, length, maxZero, (*nbdconn.Shared).Trim)
}

// cluster is the unit in which zeroes are passed on, in bytes: that of qcow2 images.
const cluster = 64 << 10

// zeros are what is written to parts of clusters.
var zeros [cluster]byte

// WriteZeroes implements [nbdproxy.Zeroer]. Parts of clusters are written as data. qemu (7.2)
// corrupts an image when it zeroes a part of a cluster that reads as zeros while a write
// to the rest of it is on its way, and nbdcopy asks for that.
func (b *Backend) WriteZeroes(ctx context.Context, offset, length int64, mayUnmap, fast bool) error {
	end := offset + length
	from, to := min((offset+cluster-1)/cluster*cluster, end), end/cluster*cluster
	if end == b.conns[0].Size() {
		to = end // its last cluster may be short
	}
	to = max(from, to)
	if fast && (offset < from || to < end) {
		return unix.ENOTSUP
	}
	if err := b.writeZeros(offset, from); err != nil {
		return err
	}
	if err := b.zeroClusters(ctx, from, to-from, mayUnmap, fast); err != nil {
		return err
	}
	return b.writeZeros(to, end)
}

// writeZeros writes zeros to less than a cluster.
func (b *Backend) writeZeros(from, to int64) error {
	if from == to {
		return nil
	}
	_, err := b.WriteAt(zeros[:to-from], from)
	return err
}

// zeroClusters has the server zero whole clusters.
func (b *Backend) zeroClusters(ctx context.Context, offset, length int64, mayUnmap, fast bool) error {
	var flags nbdconn.ZeroFlags
	if !mayUnmap {
		flags |= nbdconn.NoHole
	}
	if fast {
		flags |= nbdconn.Fast
	}
	return b.pieces(ctx, offset, length, maxZero, func(c *nbdconn.Shared, offset, length int64) error {
		return c.Zero(offset, length, flags)
	})
}

// pieces runs a request in pieces of at most limit bytes, cut at its multiples.
func (b *Backend) pieces(ctx context.Context, offset, length, limit int64, f func(c *nbdconn.Shared, offset, length int64) error) error {
	for length > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(length, limit-offset%limit)
		if err := b.with(func(c *nbdconn.Shared) error { return f(c, offset, n) }); err != nil {
			return err
		}
		offset, length = offset+n, length-n
	}
	return nil
}
