package image

import "os"

// maxParts is how many parts a range of Data may reach over: 2 GiB with clusters of 64 KiB.
const maxParts = 64

// Data implements device.Device, by what is allocated and not known to be zeros. It reads
// no data, and nothing at all to pass over what no file has an L2 table for.
func (i *Image) Data(off int64) (start, end int64, err error) {
	if i.closed.Load() {
		return 0, 0, &os.PathError{Op: "seek", Path: i.path, Err: os.ErrClosed}
	}
	start, end = i.size, i.size
	found := false
	at, err := i.extents(off, func(from, to int64, data bool) bool {
		if !data {
			return !found
		}
		if !found {
			start, found = from, true
		}
		end = to
		return end-start < maxParts*i.part
	})
	if err != nil {
		return 0, 0, i.failed(at, err)
	}
	return start, end, nil
}

// extents calls each for one range after the other, beginning at off, until there are no
// more or each returns false. It returns the position that it came to.
func (i *Image) extents(off int64, each func(from, to int64, data bool) bool) (int64, error) {
	for off < i.size {
		next, err := i.skip(off)
		if err != nil {
			return off, err
		}
		if next > off && !each(off, next, false) || next == i.size {
			return next, nil
		}
		base := next &^ (i.part - 1)
		runs, err := i.mapping(base)
		if err != nil {
			return next, err
		}
		for k := find(runs, uint32(next-base)); k < len(runs); k++ {
			from, to := max(next, base+int64(runs[k].start)), min(base+i.end(runs, k), i.size)
			if more, err := i.extent(runs[k], from, to, each); err != nil || !more {
				return from, err
			}
		}
		off = min(base+i.part, i.size)
	}
	return off, nil
}

// extent calls each for a run, or for the parts of it where its file is raw.
func (i *Image) extent(r run, from, to int64, each func(from, to int64, data bool) bool) (more bool, err error) {
	raw := i.chain[r.layer].raw
	if r.kind != plain || raw == nil {
		return each(from, to, r.kind != hole), nil
	}
	for from < to {
		start, end, err := raw.Data(from)
		if err != nil {
			return false, err
		}
		start, end = min(start, to), min(end, to)
		if from < start && !each(from, start, false) || start < end && !each(start, end, true) {
			return false, nil
		}
		from = max(end, start)
	}
	return true, nil
}

// skip returns where, from off on, the range of the first L2 table of any file begins, or
// data of the raw one.
func (i *Image) skip(off int64) (int64, error) {
	next := i.size
	for _, f := range i.chain {
		if off >= f.diskSize() {
			break
		}
		if f.raw != nil {
			start, _, err := f.raw.Data(off)
			return min(next, start), err
		}
		if index := f.l1.next(off >> f.tableBits); index >= 0 {
			next = min(next, max(off, index<<f.tableBits))
		}
	}
	return next, nil
}
