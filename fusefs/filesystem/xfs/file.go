package xfs

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Open implements filesystem.FS.
func (f *fsys) Open(id filesystem.ID) (filesystem.File, error) {
	i, err := f.inode(id)
	if err != nil {
		return nil, err
	}
	switch i.kind() {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrIsDir)
	default:
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrInvalid)
	}
	if i.realtime {
		return nil, unsupported("inode %d is on a realtime device", id)
	}
	return &file{f, i}, nil
}

// file is the content of a regular file. Its inode never changes.
type file struct {
	fs *fsys
	i  *inode
}

// Size implements filesystem.File.
func (f *file) Size() int64 { return f.i.attr.Size }

// ReadAt implements filesystem.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, f.i.attr.Size, func(p []byte, off int64) (int, error) {
		for done := 0; done < len(p); {
			at, n, err := f.run(off+int64(done), int64(len(p)-done))
			if err != nil {
				return done, err
			}
			part := p[done : done+int(n)]
			if at < 0 {
				clear(part)
			} else if m, err := f.fs.dev.ReadAt(part, at); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return done + m, err
			}
			done += int(n)
		}
		return len(p), nil
	})
}

// run returns where the file's bytes from off on are on the device, and how many of them
// are there in a row, up to most. It returns -1 for bytes that are zeros.
func (f *file) run(off, most int64) (at, n int64, err error) {
	sb := f.fs.sb
	e, ok, err := f.next(off)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return -1, most, nil
	}
	if begin := int64(e.offset << sb.blockLog); begin > off {
		return -1, min(most, begin-off), nil
	}
	end := int64(e.end() << sb.blockLog)
	if e.unwritten {
		return -1, min(most, end-off), nil
	}
	start, err := sb.address(e.block, e.count)
	if err != nil {
		return 0, 0, fmt.Errorf("inode %d: %w", f.i.number, err)
	}
	at = start + off - int64(e.offset<<sb.blockLog)
	n = end - off
	for n < most {
		// An extent has 2^21 blocks at most, and a file in use grows by bits.
		more, ok, err := f.next(off + n)
		if err != nil {
			return 0, 0, err
		}
		if !ok || more.unwritten || int64(more.offset<<sb.blockLog) != off+n {
			break
		}
		start, err := sb.address(more.block, more.count)
		if err != nil || start != at+n {
			break
		}
		n += int64(more.count << sb.blockLog)
	}
	return at, min(n, most), nil
}

// next returns the extent that holds a byte of the file, or the next one within the file.
func (f *file) next(off int64) (extent, bool, error) {
	sb := f.fs.sb
	e, ok, err := f.fs.find(f.i, &f.i.data, uint64(off)>>sb.blockLog)
	if err != nil || !ok || e.offset > f.i.size()>>sb.blockLog {
		return extent{}, false, err
	}
	// No byte of a file is past 2^63; neither may the end of its last extent be.
	if e.end() > (1<<63-1)>>sb.blockLog {
		return extent{}, false, corrupt("inode %d has an extent at block %d", f.i.number, e.offset)
	}
	return e, true, nil
}

// Data implements filesystem.File.
func (f *file) Data(off int64) (start, end int64, err error) {
	size := f.i.attr.Size
	for off < size {
		e, ok, err := f.next(off)
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			break
		}
		end := int64(e.end() << f.fs.sb.blockLog)
		if !e.unwritten {
			start := max(off, int64(e.offset<<f.fs.sb.blockLog))
			if start >= size {
				break
			}
			return start, min(end, size), nil
		}
		off = end
	}
	return size, size, nil
}
