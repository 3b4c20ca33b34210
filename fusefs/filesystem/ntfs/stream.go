package ntfs

import (
	"sort"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// A stream is the value of an attribute: a file's content, an index's blocks. Many
// goroutines may use it at once.
type stream struct {
	volume   *volume
	number   uint64    // of the file's record
	owner    uint64    // of the record that first is in
	base     reference // the file's record
	first    attribute
	runs     []run     // all of them, where segments is nil
	segments []segment // by lowVCN, where there are several
}

func (s *stream) Size() int64 { return s.first.size }

func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, s.first.size, s.read)
}

// compressed says whether the data is kept in units that are compressed each.
func (s *stream) compressed() bool {
	return !s.first.resident && s.first.flags&flagCompressed != 0 && s.first.unitShift != 0
}

// readable tells why a stream cannot be read.
func (s *stream) readable() error {
	switch {
	case s.first.flags&flagEncrypted != 0:
		return unsupported("file %d is encrypted (EFS)", s.number)
	case s.compressed() && s.first.flags&flagCompressed != 1:
		return unsupported("file %d is compressed by method %d", s.number, s.first.flags&flagCompressed)
	case s.compressed() && s.volume.layout.clusterSize<<min(s.first.unitShift, 16) > maxUnitSize:
		return corrupt("file %d is compressed in units of 2^%d clusters", s.number, s.first.unitShift)
	}
	return nil
}

// read fills p, all of which is within the stream.
func (s *stream) read(p []byte, off int64) (int, error) {
	if s.first.resident {
		return copy(p, s.first.value[off:]), nil
	}
	n := len(p)
	if behind := off + int64(n) - s.first.valid; behind > 0 {
		written := max(0, int64(n)-behind)
		clear(p[written:])
		p = p[:written]
	}
	var err error
	if s.compressed() {
		err = s.readUnits(p, off)
	} else {
		err = s.readRuns(p, off)
	}
	if err != nil {
		return 0, corruptRecord(s.number, err)
	}
	return n, nil
}

func (s *stream) readRuns(p []byte, off int64) error {
	cluster := s.volume.layout.clusterSize
	for len(p) > 0 {
		r, err := s.at(off / cluster)
		if err != nil {
			return err
		}
		n := min(int64(len(p)), (r.vcn+r.length)*cluster-off)
		switch {
		case n <= 0:
			return corrupt("data ends at byte %d of %d", off, s.first.size)
		case r.lcn == hole:
			clear(p[:n])
		default:
			if err := readFull(s.volume.dev, p[:n], (r.lcn-r.vcn)*cluster+off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}

// at returns the run that a cluster of the stream is in, one of length 0 behind the last.
func (s *stream) at(vcn int64) (run, error) {
	runs := s.runs
	if s.segments != nil {
		i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].lowVCN > vcn }) - 1
		if i < 0 {
			return run{}, nil
		}
		var err error
		if runs, err = s.volume.segmentRuns(s.segments[i], s.base); err != nil {
			return run{}, err
		}
	}
	i := sort.Search(len(runs), func(i int) bool { return runs[i].vcn > vcn }) - 1
	if i < 0 || vcn >= runs[i].vcn+runs[i].length {
		return run{vcn: vcn}, nil
	}
	return runs[i], nil
}

func (v *volume) segmentRuns(s segment, base reference) ([]run, error) {
	if runs, found := v.runs.Get(s); found {
		return runs, nil
	}
	runs, err := v.decode(s, base)
	if err != nil {
		return nil, err
	}
	v.runs.Put(s, runs, len(runs)+1)
	return runs, nil
}

// Data implements filesystem.File: holes are what has no cluster, and what was never written.
func (s *stream) Data(off int64) (start, end int64, err error) {
	size := s.first.size
	if off >= size {
		return size, size, nil
	}
	if s.first.resident {
		return off, size, nil
	}
	if off >= s.first.valid {
		return size, size, nil
	}
	unit := s.volume.layout.clusterSize
	if s.compressed() {
		unit <<= s.first.unitShift
	}
	for start = off; start < s.first.valid; {
		r, err := s.at(start / s.volume.layout.clusterSize)
		if err != nil {
			return 0, 0, corruptRecord(s.number, err)
		}
		if r.length == 0 {
			return 0, 0, corruptRecord(s.number, corrupt("data ends at byte %d of %d", start, size))
		}
		end := min((r.vcn+r.length)*s.volume.layout.clusterSize, s.first.valid)
		if r.lcn != hole {
			// A compressed unit goes on where its clusters end.
			return start, min((end+unit-1)/unit*unit, s.first.valid), nil
		}
		start = end
	}
	return size, size, nil
}

var _ filesystem.File = (*stream)(nil)
