package export

import (
	"context"
	"errors"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// statusChunk is how much of a disk one block-status request asks about. It
// bounds the reply: 16384 entries at a granularity of 64 KiB.
const statusChunk = 1 << 30

// allocation is the metadata context that tells zeros from data.
const allocation = "base:allocation"

// surveyor finds out what of a disk is to be sent. It asks about allocation only
// where something changed: a server walks its own tables for the answer, and those
// of a large disk are large even when nothing changed on it.
type surveyor struct {
	disk  *Disk
	alloc *nbdconn.Conn
	dirty *nbdconn.Conn // nil for a disk that is sent in full
	runs  []run
}

// newSurveyor connects. The caller closes it.
func newSurveyor(ctx context.Context, d *Disk) (*surveyor, error) {
	alloc, err := d.dial(ctx, allocation)
	if err != nil {
		return nil, err
	}
	s := &surveyor{disk: d, alloc: alloc}
	if d.Bitmap != "" {
		if s.dirty, err = d.dial(ctx, d.bitmapContext()); err != nil {
			alloc.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *surveyor) close() {
	s.alloc.Close()
	if s.dirty != nil {
		s.dirty.Close()
	}
}

// walk calls emit for each range of the disk that is to be sent, in ascending
// order, and scanned with how far it has come. Neighbouring ranges of one class may
// come apart.
func (s *surveyor) walk(emit func(e stream.Extent, c class) error, scanned func(offset int64)) error {
	for offset := int64(0); offset < s.disk.Size; scanned(offset) {
		clean, runs, err := s.look(offset, min(statusChunk, s.disk.Size-offset))
		if err != nil {
			return &Error{s.disk.Name, err}
		}
		offset += clean
		for _, r := range runs {
			if r.class != unchanged {
				if err := emit(stream.Extent{Offset: offset, Length: r.length}, r.class); err != nil {
					return err
				}
			}
			offset += r.length
		}
	}
	return nil
}

// look tells about the disk from offset on: first come so many unchanged bytes, then
// runs; both together at least one byte and at most limit.
func (s *surveyor) look(offset, limit int64) (clean int64, runs []run, err error) {
	var dirty []nbdconn.Status
	if s.dirty != nil {
		got, err := s.dirty.BlockStatus(offset, limit, []string{s.disk.bitmapContext()})
		if err != nil {
			return 0, nil, err
		}
		if clean, limit, dirty = trim(got[0], limit); limit == 0 {
			return clean, nil, nil
		}
	}
	got, err := s.alloc.BlockStatus(offset+clean, limit, []string{allocation})
	if err != nil {
		return 0, nil, err
	}
	var covered int64
	if s.runs, covered = merge(s.runs[:0], got[0], dirty, limit); covered == 0 {
		return 0, nil, errors.New("the server's block status covers nothing")
	}
	return clean, s.runs, nil
}
