package export

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// maxRead bounds one read request. qemu is fastest between 256 KiB and 1 MiB.
const maxRead = 512 << 10

// lane is a connection that goroutines take turns on.
type lane struct {
	mu   sync.Mutex
	conn *nbdconn.Conn
}

func (l *lane) blockStatus(offset, length int64, contexts []string) ([][]nbdconn.Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn.BlockStatus(offset, length, contexts)
}

func (l *lane) do(ops []nbdconn.Op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn.Do(ops)
}

// sender sends one disk.
type sender struct {
	disk  *Disk
	index int
	enc   *stream.Encoder
	meter *stream.Meter
	conns int

	fail context.CancelCauseFunc // ends the context of run, of all disks
}

// run walks the disk on one connection and reads it on others: the walk hands
// frames to be filled to readers, each of which reads, looks for zeros,
// compresses and writes on its own.
func (s *sender) run(ctx context.Context) (stream.DiskSum, error) {
	first, err := s.disk.dial(ctx)
	if err != nil {
		return stream.DiskSum{}, err
	}
	defer first.Close()
	features, err := first.Features()
	if err != nil {
		return stream.DiskSum{}, &Error{s.disk.Name, err}
	}
	var g errgroup.Group
	spawn := func(f func() error) {
		g.Go(func() error {
			err := f()
			if err != nil {
				s.fail(err)
			}
			return err
		})
	}
	walker := &lane{conn: first}
	frames := make(chan []stream.Extent)
	spawn(func() error {
		defer close(frames)
		return s.walk(ctx, walker, frames)
	})
	if s.disk.Bitmap == "" {
		s.meter.Total.Store(s.disk.Size)
	}
	// A server that does not announce several connections may well take only one.
	if !features.MultiConn {
		spawn(func() error { return s.read(walker, frames) })
	} else {
		for range s.conns {
			spawn(func() error { return s.dialAndRead(ctx, frames) })
		}
		if s.disk.Bitmap != "" {
			spawn(func() error { return s.count(ctx) })
		}
	}
	if err := g.Wait(); err != nil {
		return stream.DiskSum{}, err
	}
	return s.enc.EndDisk(s.index)
}

func (s *sender) walk(ctx context.Context, l *lane, frames chan<- []stream.Extent) error {
	p := packer{
		data: func(extents []stream.Extent) error {
			select {
			case frames <- extents:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
		zero: func(extents []stream.Extent) error { return s.sendZero(extents) },
	}
	if err := walk(l, s.disk, func(e stream.Extent, c class) error { s.meter.Find(e); return p.add(e, c) }); err != nil {
		return err
	}
	s.meter.FoundAll()
	return p.flush()
}

// count finds out how much there is to send, for whoever watches the progress.
func (s *sender) count(ctx context.Context) error {
	c, err := s.disk.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var total int64
	err = walk(&lane{conn: c}, s.disk, func(e stream.Extent, _ class) error {
		total += e.Length
		return nil
	})
	if err == nil {
		s.meter.Total.Store(total)
	}
	return err
}

func (s *sender) dialAndRead(ctx context.Context, frames <-chan []stream.Extent) error {
	c, err := s.disk.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.read(&lane{conn: c}, frames)
}

// read fills and sends frames until there are no more.
func (s *sender) read(l *lane, frames <-chan []stream.Extent) error {
	buf := make([]byte, stream.MaxPayload)
	var ops []nbdconn.Op
	for extents := range frames {
		ops = ops[:0]
		var n int64
		for _, e := range extents {
			ops = appendReads(ops, e, buf[n:n+e.Length])
			n += e.Length
		}
		if err := l.do(ops); err != nil {
			return &Error{s.disk.Name, err}
		}
		data, payload, zeros := splitZeros(extents, buf[:n], s.disk.Size)
		if len(data) > 0 {
			if err := s.enc.Data(s.index, data, payload); err != nil {
				return err
			}
			s.meter.Handle(stream.KindData, int64(len(payload)))
		}
		if len(zeros) > 0 {
			if err := s.sendZero(zeros); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) sendZero(extents []stream.Extent) error {
	if err := s.enc.Zero(s.index, extents); err != nil {
		return err
	}
	for _, e := range extents {
		s.meter.Handle(stream.KindZero, e.Length)
	}
	return nil
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
