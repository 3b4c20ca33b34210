package ext

import (
	"fmt"
	"sync/atomic"

	"vmsync/fusefs/device"
)

// dataWindow is how many bytes one range of Data covers at most, so that a file in many
// adjoining pieces does not cost a walk through all of them.
const dataWindow = 1 << 30

// file is the content of a regular file. It is safe for many goroutines.
type file struct {
	r     *reader
	inode *inode
	last  atomic.Pointer[run] // found last: reading on mostly begins there
}

func (f *file) Size() int64 { return f.inode.size }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, f.inode.size, f.read)
}

// runAt returns the run that holds a byte, and is as long as it can be for limit bytes.
func (f *file) runAt(off, limit int64) (run, error) {
	bits := f.r.sb.blockBits
	block := uint64(off) >> bits
	if last := f.last.Load(); last != nil && block >= last.first && block < last.end() {
		return *last, nil
	}
	found, err := f.r.longRunAt(f.inode, block, uint64(limit)>>bits+1)
	if err == nil {
		f.last.Store(&found)
	}
	return found, err
}

// read fills p, which lies within the file.
func (f *file) read(p []byte, off int64) (int, error) {
	bits := f.r.sb.blockBits
	n := 0
	for n < len(p) {
		at := off + int64(n)
		found, err := f.runAt(at, int64(len(p)-n))
		if err != nil {
			return n, err
		}
		part := p[n:]
		// In blocks first: a run beyond the last block has no end in bytes.
		if left := found.end() - uint64(at)>>bits; left < uint64(len(part))>>bits+2 {
			if bytes := int64(left)<<bits - at&(1<<bits-1); bytes < int64(len(part)) {
				part = part[:bytes]
			}
		}
		if !found.data {
			clear(part)
			n += len(part)
			continue
		}
		place := int64(found.place)<<bits + at - int64(found.first)<<bits
		m, err := f.r.dev.ReadAt(part, place)
		n += m
		if m < len(part) {
			return n, fmt.Errorf("ext: reading inode %d at %d: %w", f.inode.number, at+int64(m), err)
		}
	}
	return n, nil
}

func (f *file) Data(off int64) (int64, int64, error) {
	size, bits := f.inode.size, f.r.sb.blockBits
	for off < size {
		found, err := f.runAt(off, min(size-off, dataWindow))
		if err != nil {
			return 0, 0, err
		}
		end := size
		if found.end() <= uint64(size)>>bits {
			end = int64(found.end()) << bits
		}
		if found.data {
			return off, end, nil
		}
		off = end
	}
	return size, size, nil
}
