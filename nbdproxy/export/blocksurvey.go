package export

import (
	"context"
	"errors"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// depth is the metadata context that tells which image holds a range: 1 for the top one, 0 for
// none, more for those below. `qemu-nbd -A` offers it.
const depth = "qemu:allocation-depth"

// blockSurvey finds out what the blocks of a disk are, all at once.
type blockSurvey struct {
	disk     *HashDisk
	conn     *nbdconn.Conn
	contexts []string // allocation first
	flags    []uint32 // of a range, by context
	own      stream.Extent
}

// newBlockSurvey connects. The caller closes it.
func newBlockSurvey(ctx context.Context, d *HashDisk) (*blockSurvey, error) {
	s := &blockSurvey{disk: d, contexts: []string{allocation}, own: d.own()}
	if d.Top {
		s.contexts = append(s.contexts, depth)
	}
	if d.Bitmap != "" {
		s.contexts = append(s.contexts, d.bitmapContext())
	}
	s.flags = make([]uint32, len(s.contexts))
	var err error
	s.conn, err = d.dial(ctx, s.contexts...)
	return s, err
}

func (s *blockSurvey) close() { s.conn.Close() }

// walk calls emit for all blocks of the disk, in ascending order, and scanned with how
// far it has come.
func (s *blockSurvey) walk(ctx context.Context, emit func(e stream.Extent, t traits) error, scanned func(offset int64)) error {
	b := blockwise{size: s.disk.Size, emit: func(e stream.Extent, t traits) error { return s.emit(e, t, emit) }}
	for b.end < s.disk.Size {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		limit := min(statusChunk, s.disk.Size-b.end)
		got, err := s.conn.BlockStatus(b.end, limit, s.contexts)
		if err != nil {
			return &Error{s.disk.Name, err}
		}
		from := b.end
		if err := s.add(&b, got, limit); err != nil {
			return err
		}
		if b.end == from {
			return &Error{s.disk.Name, errors.New("the server's block status covers nothing")}
		}
		scanned(b.end)
	}
	return nil
}

// emit calls to, and makes the block that has to be the top image's one of its own.
func (s *blockSurvey) emit(e stream.Extent, t traits, to func(stream.Extent, traits) error) error {
	if e.Offset >= s.own.End() || e.End() <= s.own.Offset {
		return to(e, t)
	}
	before := stream.Extent{Offset: e.Offset, Length: s.own.Offset - e.Offset}
	behind := stream.Extent{Offset: s.own.End(), Length: e.End() - s.own.End()}
	for _, part := range []struct {
		stream.Extent
		traits
	}{{before, t}, {s.own, t | isOwn}, {behind, t}} {
		if part.Length == 0 {
			continue
		}
		if err := to(part.Extent, part.traits); err != nil {
			return err
		}
	}
	return nil
}

// add takes what replies for the same offset say together, up to where the shortest
// one ends, at most limit bytes.
func (s *blockSurvey) add(b *blockwise, replies [][]nbdconn.Status, limit int64) error {
	left := make([]int64, len(replies)) // of each context's entry in turn
	for limit > 0 {
		n := limit
		for i := range replies {
			if left[i] == 0 {
				if len(replies[i]) == 0 {
					return nil
				}
				left[i], s.flags[i] = int64(replies[i][0].Length), replies[i][0].Flags
				replies[i] = replies[i][1:]
			}
			n = min(n, left[i])
		}
		for i := range left {
			left[i] -= n
		}
		limit -= n
		if err := b.add(n, s.traits()); err != nil {
			return err
		}
	}
	return nil
}

// traits are those of a range by its flags.
func (s *blockSurvey) traits() traits {
	var t traits
	for i, name := range s.contexts {
		switch f := s.flags[i]; {
		case name == allocation && classify(f, true, 0) == data:
			t |= holdsData
		case name == depth && f == 1:
			t |= isOwn
		case name != allocation && name != depth && f != 0:
			t |= isDirty
		}
	}
	return t
}
