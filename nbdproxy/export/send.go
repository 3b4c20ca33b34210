package export

import (
	"context"
	"fmt"
	"sync"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

// Result is what came of one disk.
type Result struct {
	Sum stream.DiskSum
	// Content is the digest of the whole disk, whatever of it was sent: of a disk with
	// Known and without Bitmap, nil of others.
	Content *blockindex.Digest
}

// Send sends all disks, whose order is that of the stream's header, and ends the
// stream. meters has one entry per disk. When something fails while other
// goroutines wait for the stream's connection, interrupt is called to end that
// wait. A failure of an export is an [*Error], one of Known an [*IndexError]; the
// encoder's errors come as they are.
func Send(ctx context.Context, disks []Disk, enc *stream.Encoder, meters []*stream.Meter, interrupt func()) ([]Result, error) {
	got := make([]Result, len(disks))
	err := pumpAll(ctx, len(disks), interrupt, func(ctx context.Context, i int, p *pump) error {
		d := &disks[i]
		s := sender{pump: p, disk: d, index: i, enc: enc, meter: meters[i], known: newKnown(d.Known, d.Size, d.KnownPart)}
		var err error
		got[i], err = s.run(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return got, enc.End()
}

// sender sends one disk.
type sender struct {
	*pump
	disk  *Disk
	index int
	enc   *stream.Encoder
	meter *stream.Meter
	known *known // nil if nothing is known

	mu      sync.Mutex // guards what follows
	content blockindex.Digest
	same    int64 // bytes that were looked at and not sent, for the receiver has them
}

// looksAtAll tells whether every block of the disk is compared.
func (s *sender) looksAtAll() bool { return s.known != nil && s.disk.Bitmap == "" }

// run surveys the disk and reads it on other connections.
func (s *sender) run(ctx context.Context) (Result, error) {
	survey, err := newSurveyor(ctx, s.disk)
	if err != nil {
		return Result{}, err
	}
	defer survey.close()
	if s.disk.Bitmap == "" {
		s.meter.Total.Store(s.disk.Size)
	}
	err = s.pump.run(ctx, s.disk, func() error { return s.find(ctx, survey) }, func(worker int) error {
		return s.work(ctx, worker%2 == 1)
	})
	if err != nil {
		return Result{}, err
	}
	sum, err := s.enc.EndDisk(s.index)
	if err != nil {
		return Result{}, err
	}
	return s.result(sum)
}

// result is called when nobody works any more. The encoder sees to it that a full disk is
// covered, but knows nothing of what the receiver has.
func (s *sender) result(sent stream.DiskSum) (Result, error) {
	if !s.looksAtAll() {
		return Result{Sum: sent}, nil
	}
	if n := sent.DataBytes + sent.ZeroBytes + s.same; n != s.disk.Size {
		return Result{}, &Error{s.disk.Name, fmt.Errorf("%d of %d bytes were looked at", n, s.disk.Size)}
	}
	return Result{sent, &s.content}, nil
}

// find makes frames of what the survey finds.
func (s *sender) find(ctx context.Context, survey *surveyor) error {
	p := s.packer(ctx, s.sendZero)
	add := p.add
	if s.known != nil && !s.known.part {
		o := s.known.other(ctx)
		defer o.stop()
		add = func(e stream.Extent, c class) error {
			if c == zero {
				return s.addOther(p, o, e)
			}
			return p.add(e, c)
		}
	}
	if s.looksAtAll() {
		add = byBlocks(s.disk.Size, add)
	}
	if err := survey.walk(func(e stream.Extent, c class) error { s.meter.Find(e); return add(e, c) }, s.meter.Scanned.Store); err != nil {
		return err
	}
	s.meter.FoundAll()
	return p.flush()
}

// byBlocks makes a function for all ranges of a disk, in turn, which calls add for runs of
// whole blocks: a block that is partly data is data, and so every block can be compared.
func byBlocks(size int64, add func(stream.Extent, class) error) func(stream.Extent, class) error {
	b := blockwise{size: size, emit: func(e stream.Extent, t traits) error {
		if t&holdsData != 0 {
			return add(e, data)
		}
		return add(e, zero)
	}}
	return func(e stream.Extent, c class) error {
		if c == zero {
			return b.add(e.Length, 0)
		}
		return b.add(e.Length, holdsData)
	}
}

// addOther packs those parts of an extent of zeros that the receiver does not have.
func (s *sender) addOther(p *packer, o *other, e stream.Extent) error {
	var packing error
	same, err := o.parts(e, func(part stream.Extent) error {
		packing = p.add(part, zero)
		return packing
	})
	switch {
	case packing != nil:
		return packing
	case err != nil:
		return &IndexError{s.disk.Name, err}
	}
	s.skip(same)
	return nil
}

// skip tells of bytes that the receiver has.
func (s *sender) skip(n int64) {
	s.meter.Skip(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.same += n
}

// work fills and sends frames until there are no more. A worker at the back takes them
// from there while the link holds the stream up; otherwise all read the disk from front to
// back, which is what disks are fastest at.
func (s *sender) work(ctx context.Context, back bool) error {
	req, split := newRequest(), splitter{size: s.disk.Size, known: s.known}
	for {
		extents, err := s.frames.take(ctx, back && s.enc.LinkBound())
		if extents == nil || err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.content.Merge(split.content)
			return err
		}
		payload, err := s.reader.read(ctx, &req, extents)
		if err != nil {
			return err
		}
		if err := split.split(extents, payload); err != nil {
			return &IndexError{s.disk.Name, err}
		}
		s.recycle(extents)
		if err := s.send(&split); err != nil {
			return err
		}
	}
}

// send sends what was split.
func (s *sender) send(split *splitter) error {
	if len(split.data) > 0 {
		if err := s.enc.Data(s.index, split.data, split.kept); err != nil {
			return err
		}
		s.meter.Handle(stream.KindData, int64(len(split.kept)))
	}
	if len(split.zero) > 0 {
		if err := s.sendZero(split.zero); err != nil {
			return err
		}
	}
	if split.same > 0 {
		s.skip(split.same)
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
