package export

import (
	"context"
	"errors"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// maxRead bounds one read request. qemu is fastest between 256 KiB and 1 MiB.
const maxRead = 512 << 10

// reader reads one disk over several connections. Its read may be called by many
// goroutines at once.
type reader struct {
	disk    *Disk
	free    chan *nbdconn.Conn // connections that nobody reads with
	warmth  nbdconn.Warmth
	maximum int64 // bytes of a request; 0 for any
}

// request is what a goroutine that reads keeps from one read to the next.
type request struct {
	buf []byte
	ops []nbdconn.Op
}

func newRequest() request { return request{buf: make([]byte, stream.MaxPayload)} }

// newReader makes at most conns connections, as many as the server is good for: one that
// does not announce several may well take only one at a time to read with. The caller
// closes it.
func newReader(ctx context.Context, d *Disk, conns int) (*reader, error) {
	r := &reader{disk: d, free: make(chan *nbdconn.Conn, conns)}
	for range conns {
		c, err := d.dial(ctx)
		if err != nil {
			r.close()
			return nil, err
		}
		r.free <- c
		f, err := c.Features()
		sizes, serr := c.Sizes()
		if err = errors.Join(err, serr); err != nil {
			r.close()
			return nil, &Error{d.Name, err}
		}
		r.maximum = sizes.Maximum
		if !f.MultiConn {
			break
		}
	}
	return r, nil
}

// close is called when nobody reads.
func (r *reader) close() {
	for {
		select {
		case c := <-r.free:
			c.Close()
		default:
			return
		}
	}
}

// read returns the extents' bytes, at most [stream.MaxPayload], back to back. They are in the
// request's buffer.
func (r *reader) read(ctx context.Context, q *request, extents []stream.Extent) ([]byte, error) {
	q.ops = q.ops[:0]
	var n int64
	for _, e := range extents {
		q.ops = appendReads(q.ops, e, q.buf[n:n+e.Length])
		n += e.Length
	}
	var c *nbdconn.Conn
	select {
	case c = <-r.free:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { r.free <- c }()
	if err := c.Do(q.ops); err != nil {
		return nil, &Error{r.disk.Name, err}
	}
	last := extents[len(extents)-1]
	if from, length := r.warmth.Read(last.End()-n, n, r.disk.Size, r.maximum); length > 0 {
		r.warm(ctx, from, length)
	}
	return q.buf[:n], nil
}

// warm makes a read for the server's sake. It may fail: it has a connection of its own,
// and nobody asked for what it reads.
func (r *reader) warm(ctx context.Context, from, length int64) {
	c, err := r.disk.dial(ctx)
	if err != nil {
		return
	}
	_ = c.Do([]nbdconn.Op{{Kind: nbdconn.Read, Offset: from, Buf: make([]byte, length)}})
	c.Close()
}

// appendReads appends the requests that fill b with the extent.
func appendReads(ops []nbdconn.Op, e stream.Extent, b []byte) []nbdconn.Op {
	for off := e.Offset; len(b) > 0; {
		n := min(len(b), maxRead)
		ops = append(ops, nbdconn.Op{Kind: nbdconn.Read, Offset: off, Buf: b[:n]})
		off, b = off+int64(n), b[n:]
	}
	return ops
}
