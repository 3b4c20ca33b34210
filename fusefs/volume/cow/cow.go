// Package cow reads device-mapper's snapshots that keep what changed in a store of their
// own, in its persistent format (kernel documentation, device-mapper/snapshot).
//
// A snapshot is its origin, save for the chunks that are in the store. The package must
// never show an origin's chunk in place of one that the store holds.
package cow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

const (
	magic     = 0x70416e53
	version   = 1
	sector    = 512
	entrySize = 16
	// maxChunk bounds the memory for an area of entries; LVM allows 512 KiB.
	maxChunk = 1 << 20
)

// run is chunks that follow each other both in the origin and in the store.
type run struct{ origin, store, count uint64 }

type snapshot struct {
	origin, store device.Device
	chunk         int64
	runs          []run // by origin
}

// Open returns the snapshot of origin that store keeps. A store that overflowed, so that
// the snapshot is lost, gives an error. Runs is how many runs of chunks may be kept in memory,
// of 24 bytes each, by all snapshots that it is given for; it becomes less by those of this one.
func Open(origin, store device.Device, runs *int) (device.Device, error) {
	head := make([]byte, sector)
	if _, err := store.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("reading the snapshot's header: %w", err)
	}
	le := binary.LittleEndian
	sectors := int64(le.Uint32(head[12:]))
	switch {
	case le.Uint32(head) != magic:
		return nil, fmt.Errorf("the snapshot's store has no header: %w", filesystem.ErrCorrupt)
	case le.Uint32(head[4:]) == 0:
		return nil, errors.New("the snapshot's store ran full: the guest lost the snapshot")
	case le.Uint32(head[8:]) != version:
		return nil, fmt.Errorf("snapshot of version %d: %w", le.Uint32(head[8:]), filesystem.ErrUnsupported)
	case sectors == 0 || sectors&(sectors-1) != 0:
		return nil, fmt.Errorf("snapshot in chunks of %d sectors: %w", sectors, filesystem.ErrCorrupt)
	case sectors*sector > maxChunk:
		return nil, fmt.Errorf("snapshot in chunks of more than %d bytes: %w", maxChunk, filesystem.ErrUnsupported)
	}
	s := &snapshot{origin: origin, store: store, chunk: sectors * sector}
	if err := s.load(*runs); err != nil {
		return nil, err
	}
	*runs -= len(s.runs)
	return s, nil
}

// load reads the areas of entries. After each area there is a chunk for each of its
// entries; the first entry without a chunk is the end.
func (s *snapshot) load(most int) error {
	area := make([]byte, s.chunk)
	perArea, chunks := s.chunk/entrySize, s.store.Size()/s.chunk
	for at := int64(1); at < chunks; at += perArea + 1 {
		if _, err := s.store.ReadAt(area, at*s.chunk); err != nil {
			return fmt.Errorf("reading what the snapshot holds: %w", err)
		}
		for off := 0; off < len(area); off += entrySize {
			origin, stored := binary.LittleEndian.Uint64(area[off:]), binary.LittleEndian.Uint64(area[off+8:])
			if stored == 0 {
				return s.sort()
			}
			if stored >= uint64(chunks) || origin > uint64(s.Size()/s.chunk) {
				return fmt.Errorf("the snapshot has chunk %d in chunk %d of %d: %w", origin, stored, chunks, filesystem.ErrCorrupt)
			}
			if err := s.add(origin, stored, most); err != nil {
				return err
			}
		}
	}
	return s.sort()
}

func (s *snapshot) add(origin, stored uint64, most int) error {
	if n := len(s.runs); n > 0 {
		last := &s.runs[n-1]
		if origin == last.origin+last.count && stored == last.store+last.count {
			last.count++
			return nil
		}
	}
	if len(s.runs) >= most {
		return fmt.Errorf("a snapshot in more than %d pieces: %w", most, filesystem.ErrUnsupported)
	}
	s.runs = append(s.runs, run{origin, stored, 1})
	return nil
}

func (s *snapshot) sort() error {
	sort.Slice(s.runs, func(i, j int) bool { return s.runs[i].origin < s.runs[j].origin })
	for i := 1; i < len(s.runs); i++ {
		if before := s.runs[i-1]; s.runs[i].origin-before.origin < before.count {
			return fmt.Errorf("the snapshot has chunk %d twice: %w", s.runs[i].origin, filesystem.ErrCorrupt)
		}
	}
	return nil
}

// place returns the device that holds off, where in it, and how far that goes.
func (s *snapshot) place(off int64) (from device.Device, at, end int64) {
	chunk := uint64(off / s.chunk)
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].origin > chunk })
	if i > 0 {
		if r := s.runs[i-1]; chunk-r.origin < r.count {
			into := chunk - r.origin
			end := min(uint64(s.Size()), (r.origin+r.count)*uint64(s.chunk))
			return s.store, int64(r.store+into)*s.chunk + off%s.chunk, int64(end)
		}
	}
	end = s.Size()
	if i < len(s.runs) && s.runs[i].origin <= uint64(end/s.chunk) {
		end = min(end, int64(s.runs[i].origin)*s.chunk)
	}
	return s.origin, off, end
}

// Size implements device.Device.
func (s *snapshot) Size() int64 { return s.origin.Size() }

// ReadAt implements device.Device.
func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, s.Size(), func(p []byte, off int64) (int, error) {
		done := 0
		for done < len(p) {
			from, at, end := s.place(off + int64(done))
			piece := p[done:min(int64(len(p)), end-off)]
			n, err := from.ReadAt(piece, at)
			done += n
			if n < len(piece) {
				return done, err
			}
		}
		return done, nil
	})
}

// Data implements device.Device: what is in the store counts as data.
func (s *snapshot) Data(off int64) (int64, int64, error) {
	for off < s.Size() {
		from, _, end := s.place(off)
		if from == s.store {
			return off, end, nil
		}
		start, stop, err := s.origin.Data(off)
		if err != nil {
			return 0, 0, err
		}
		if start < end && start < stop {
			return start, min(stop, end), nil
		}
		off = end
	}
	return s.Size(), s.Size(), nil
}
