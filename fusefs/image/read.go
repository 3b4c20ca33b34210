package image

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// read reads what lies within the disk.
func (i *Image) read(p []byte, off int64) (int, error) {
	if i.closed.Load() {
		return 0, &os.PathError{Op: "read", Path: i.path, Err: os.ErrClosed}
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		base := at &^ (i.part - 1)
		runs, err := i.mapping(base)
		if err != nil {
			return done, i.failed(at, err)
		}
		for k := find(runs, uint32(at-base)); k < len(runs) && done < len(p); k++ {
			at := off + int64(done)
			n := min(int64(len(p)-done), base+i.end(runs, k)-at)
			if err := i.readRun(runs[k], base, p[done:done+int(n)], at); err != nil {
				return done, i.failed(at, err)
			}
			done += int(n)
		}
	}
	if s := i.ahead.after(span{off, off + int64(done)}); s.start < s.end {
		i.fetch(s)
	}
	return done, nil
}

func (i *Image) failed(at int64, err error) error {
	return fmt.Errorf("reading %s at %d: %w", i.path, at, err)
}

// readRun fills p from a run of the part at base.
func (i *Image) readRun(r run, base int64, p []byte, at int64) error {
	f := i.chain[r.layer]
	switch r.kind {
	case hole:
		clear(p)
		return nil
	case plain:
		return f.readPlain(p, int64(r.at)+at-base-int64(r.start))
	case compressed:
		return i.cache.readCompressed(f, r.at, p, at)
	case badTable:
		return fmt.Errorf("%s: L2 table at %d of %d bytes: %w", f.name, r.at, f.bytes.Load(), ErrCorrupt)
	default:
		return fmt.Errorf("%s: L2 entry %#x of cluster %d: %w", f.name, r.at, at>>f.clusterBits, ErrCorrupt)
	}
}

// readPlain reads from the file. What lies behind its end are zeros that were not written.
func (f *file) readPlain(p []byte, at int64) error {
	n, err := f.file.ReadAt(p, at)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}
