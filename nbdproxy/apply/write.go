package apply

import (
	"context"

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
}

// run writes frames until the queue ends, then flushes what it wrote.
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
				return w.flush(c)
			}
			payload, err := f.Open(buf)
			if err != nil {
				return err
			}
			ops = appendOps(ops[:0], f, payload, w.disk.Incremental)
			if err := c.Do(ops); err != nil {
				return &Error{w.disk.Name, err}
			}
			w.meter.Handle(f.Kind, f.Bytes())
			w.free <- f
		}
	}
}

func (w *writer) flush(c *nbdconn.Conn) error {
	if err := c.Flush(); err != nil {
		return &Error{w.disk.Name, err}
	}
	return nil
}

// appendOps appends the requests that write a frame. Zeros are never trimmed:
// only a write of zeros promises that an overlay does not show its backing file's
// old bytes.
func appendOps(ops []nbdconn.Op, f *stream.Frame, payload []byte, incremental bool) []nbdconn.Op {
	for _, e := range f.Extents {
		if f.Kind == stream.KindZero {
			if incremental {
				ops = append(ops, nbdconn.Op{Kind: nbdconn.Zero, Offset: e.Offset, Length: e.Length})
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
