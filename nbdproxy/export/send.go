package export

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// maxRead bounds one read request. qemu is fastest between 256 KiB and 1 MiB.
const maxRead = 512 << 10

// sender sends one disk.
type sender struct {
	disk    *Disk
	index   int
	enc     *stream.Encoder
	meter   *stream.Meter
	conns   int
	workers int

	fail context.CancelCauseFunc // ends the context of run, of all disks

	frames  *backlog           // to be read and sent
	readers chan *nbdconn.Conn // those that nobody reads with
	warmth  nbdconn.Warmth
	maximum int64     // bytes of a request; 0 for any
	slices  sync.Pool // of *[]stream.Extent, for frames
}

// run surveys the disk and reads it on other connections: the survey hands frames to
// be filled to workers, each of which reads, looks for zeros, compresses and writes
// on its own.
func (s *sender) run(ctx context.Context) (stream.DiskSum, error) {
	survey, err := newSurveyor(ctx, s.disk)
	if err != nil {
		return stream.DiskSum{}, err
	}
	defer survey.close()
	if err := s.dialReaders(ctx); err != nil {
		return stream.DiskSum{}, err
	}
	defer s.closeReaders()
	s.frames = newBacklog()
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
	spawn(func() error {
		defer s.frames.close()
		return s.pack(ctx, survey)
	})
	if s.disk.Bitmap == "" {
		s.meter.Total.Store(s.disk.Size)
	}
	for i := range max(s.workers, s.conns) {
		spawn(func() error { return s.work(ctx, i%2 == 1) })
	}
	if err := g.Wait(); err != nil {
		return stream.DiskSum{}, err
	}
	return s.enc.EndDisk(s.index)
}

// dialReaders makes as many connections as the server is good for: one that does not
// announce several may well take only one at a time to read with.
func (s *sender) dialReaders(ctx context.Context) error {
	s.readers = make(chan *nbdconn.Conn, s.conns)
	for range s.conns {
		c, err := s.disk.dial(ctx)
		if err != nil {
			s.closeReaders()
			return err
		}
		s.readers <- c
		f, err := c.Features()
		sizes, serr := c.Sizes()
		if err = errors.Join(err, serr); err != nil {
			s.closeReaders()
			return &Error{s.disk.Name, err}
		}
		s.maximum = sizes.Maximum
		if !f.MultiConn {
			break
		}
	}
	return nil
}

// closeReaders is called when no worker runs.
func (s *sender) closeReaders() {
	for {
		select {
		case c := <-s.readers:
			c.Close()
		default:
			return
		}
	}
}

// pack makes frames of what the survey finds.
func (s *sender) pack(ctx context.Context, survey *surveyor) error {
	p := packer{
		data: func(extents []stream.Extent) error { return s.frames.put(ctx, extents) },
		zero: s.sendZero,
		list: s.list,
	}
	if err := survey.walk(func(e stream.Extent, c class) error { s.meter.Find(e); return p.add(e, c) }, s.meter.Scanned.Store); err != nil {
		return err
	}
	s.meter.FoundAll()
	return p.flush()
}

// list returns an empty list of extents, recycled if there is one.
func (s *sender) list() []stream.Extent {
	if l, ok := s.slices.Get().(*[]stream.Extent); ok {
		return (*l)[:0]
	}
	return nil
}

func (s *sender) recycle(l []stream.Extent) { s.slices.Put(&l) }

// job is what a worker keeps from frame to frame.
type job struct {
	buf   []byte
	ops   []nbdconn.Op
	split splitter
}

// work fills and sends frames until there are no more. A worker at the back takes them
// from there while the link holds the stream up; otherwise all read the disk from front to
// back, which is what disks are fastest at.
func (s *sender) work(ctx context.Context, back bool) error {
	j := job{buf: make([]byte, stream.MaxPayload)}
	for {
		extents, err := s.frames.take(ctx, back && s.enc.LinkBound())
		if extents == nil || err != nil {
			return err
		}
		n, err := s.read(ctx, &j, extents)
		if err != nil {
			return err
		}
		j.split.zeros(extents, j.buf[:n], s.disk.Size)
		s.recycle(extents)
		if len(j.split.data) > 0 {
			if err := s.enc.Data(s.index, j.split.data, j.split.kept); err != nil {
				return err
			}
			s.meter.Handle(stream.KindData, int64(len(j.split.kept)))
		}
		if len(j.split.zero) > 0 {
			if err := s.sendZero(j.split.zero); err != nil {
				return err
			}
		}
	}
}

// read fills the job's buffer and returns how much of it.
func (s *sender) read(ctx context.Context, j *job, extents []stream.Extent) (int64, error) {
	j.ops = j.ops[:0]
	var n int64
	for _, e := range extents {
		j.ops = appendReads(j.ops, e, j.buf[n:n+e.Length])
		n += e.Length
	}
	var c *nbdconn.Conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { s.readers <- c }()
	if err := c.Do(j.ops); err != nil {
		return 0, &Error{s.disk.Name, err}
	}
	last := extents[len(extents)-1]
	if from, length := s.warmth.Read(last.End()-n, n, s.disk.Size, s.maximum); length > 0 {
		s.warm(ctx, from, length)
	}
	return n, nil
}

// warm makes a read for the server's sake. It may fail: it has a connection of its own,
// and nobody asked for what it reads.
func (s *sender) warm(ctx context.Context, from, length int64) {
	c, err := s.disk.dial(ctx)
	if err != nil {
		return
	}
	_ = c.Do([]nbdconn.Op{{Kind: nbdconn.Read, Offset: from, Buf: make([]byte, length)}})
	c.Close()
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
