package apply

import (
	"context"
	"sync/atomic"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// maxWrite bounds one write request. qemu is fastest between 256 KiB and 1 MiB.
const maxWrite = 512 << 10

// writer writes one disk's frames. Several goroutines run it, each with a
// connection of its own: extents of a disk are disjoint, so their order does not
// matter.
type writer struct {
	disk  *Disk
	meter *stream.Meter
	queue <-chan *stream.Frame
	free  chan<- *stream.Frame

	steady  *steady
	indexer *indexer // nil for none
	written *barrier // that all of the disk is written and flushed
}

// run writes frames until the queue ends, then flushes what it wrote and does its part of
// what is left of the index.
func (w *writer) run(ctx context.Context) error {
	c, err := w.disk.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var ops []nbdconn.Op
	buf := make([]byte, stream.MaxPayload)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f, more := <-w.queue:
			if !more {
				return w.end(ctx, c)
			}
			payload, err := f.Open(buf)
			if err != nil {
				return err
			}
			if err := w.indexer.frame(f, payload); err != nil {
				return err
			}
			ops = appendOps(ops[:0], f, payload, w.disk)
			if err := c.Do(ops); err != nil {
				return &Error{w.disk.Name, err}
			}
			if err := w.steady.written(c); err != nil {
				return &Error{w.disk.Name, err}
			}
			w.meter.Handle(f.Kind, f.Bytes())
			w.free <- f
		}
	}
}

// end flushes, and once all writers of the disk have done so reads back what the
// index lacks.
func (w *writer) end(ctx context.Context, c *nbdconn.Conn) error {
	if err := c.Flush(); err != nil {
		return &Error{w.disk.Name, err}
	}
	if err := w.written.wait(ctx); err != nil {
		return err
	}
	return w.indexer.readBack(c)
}

// barrier is passed when all have come to it.
type barrier struct {
	missing atomic.Int32
	open    chan struct{}
}

func newBarrier(n int) *barrier {
	b := &barrier{open: make(chan struct{})}
	b.missing.Store(int32(n))
	return b
}

// wait waits for the others, or for ctx.
func (b *barrier) wait(ctx context.Context) error {
	if b.missing.Add(-1) == 0 {
		close(b.open)
	}
	select {
	case <-b.open:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cluster is the unit in which zeros are written, in bytes: that of the store's images.
const cluster = 64 << 10

// zeros are what is written to parts of clusters.
var zeros [cluster]byte

// appendOps appends the requests that write a frame.
func appendOps(ops []nbdconn.Op, f *stream.Frame, payload []byte, d *Disk) []nbdconn.Op {
	for _, e := range f.Extents {
		if f.Kind == stream.KindZero {
			if d.Incremental {
				ops = appendZeros(ops, e, d.Size)
			}
			continue
		}
		b := payload[:e.Length]
		payload = payload[e.Length:]
		for off := e.Offset; len(b) > 0; {
			n := min(len(b), maxWrite)
			ops = append(ops, nbdconn.Op{Kind: nbdconn.Write, Offset: off, Buf: b[:n]})
			off, b = off+int64(n), b[n:]
		}
	}
	return ops
}

// appendZeros appends the requests that make an extent of a disk read as zeros. Zeros are
// never trimmed: only a write of zeros promises that an overlay does not show its backing
// file's old bytes. Parts of clusters are written as data: qemu (7.2) corrupts an image when
// it zeroes a part of a cluster while another connection writes to the rest of it.
func appendZeros(ops []nbdconn.Op, e stream.Extent, size int64) []nbdconn.Op {
	from, to := min((e.Offset+cluster-1)/cluster*cluster, e.End()), e.End()/cluster*cluster
	if e.End() == size {
		to = size // its last cluster may be short
	}
	to = max(from, to)
	if e.Offset < from {
		ops = append(ops, nbdconn.Op{Kind: nbdconn.Write, Offset: e.Offset, Buf: zeros[:from-e.Offset]})
	}
	if from < to {
		ops = append(ops, nbdconn.Op{Kind: nbdconn.Zero, Offset: from, Length: to - from})
	}
	if to < e.End() {
		ops = append(ops, nbdconn.Op{Kind: nbdconn.Write, Offset: to, Buf: zeros[:e.End()-to]})
	}
	return ops
}
