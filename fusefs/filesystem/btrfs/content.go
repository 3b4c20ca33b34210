package btrfs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// content is what a file holds.
type content struct {
	tree   *tree
	inode  uint64
	size   int64
	verify bool // its data have checksums
}

func newContent(t *tree, inode uint64, item inodeItem) *content {
	return &content{t, inode, int64(item.size()), item.flags()&inodeNoDataSum == 0}
}

// Open implements filesystem.FS.
func (r *reader) Open(id filesystem.ID) (filesystem.File, error) {
	f, t, item, err := r.file(id)
	if err != nil {
		return nil, err
	}
	switch kind := item.kind(); {
	case f.stub || kind == unix.S_IFDIR:
		return nil, fmt.Errorf("inode %d of subvolume %d: %w", f.inode, f.tree, filesystem.ErrIsDir)
	case kind != unix.S_IFREG:
		return nil, fmt.Errorf("inode %d of subvolume %d: %w", f.inode, f.tree, filesystem.ErrInvalid)
	case item.size() > maxFileSize:
		return nil, corrupt("inode %d of subvolume %d: size %d", f.inode, f.tree, item.size())
	}
	return newContent(t, f.inode, item), nil
}

// Size implements filesystem.File.
func (c *content) Size() int64 { return c.size }

// ReadAt implements filesystem.File.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, c.size, c.read)
}

// maxJoined is how many extents Data looks at where the data go on and on.
const maxJoined = 1000

// Data implements filesystem.File.
func (c *content) Data(off int64) (int64, int64, error) {
	if off >= c.size {
		return c.size, c.size, nil
	}
	x, err := c.tree.extentsFrom(c.inode, uint64(off))
	if err != nil {
		return 0, 0, c.fail(err)
	}
	start, end := c.size, c.size
	for n := 0; ; n++ {
		e, ok, err := x.next()
		if err != nil {
			return 0, 0, c.fail(err)
		}
		if !ok || e.start >= uint64(c.size) {
			break
		}
		switch {
		case e.end <= uint64(off) || !e.hasData():
			if start < c.size {
				return start, end, nil
			}
		case start == c.size:
			start, end = max(off, int64(e.start)), min(int64(e.end), c.size)
		case int64(e.start) > end || n > maxJoined:
			return start, end, nil
		default:
			end = min(int64(e.end), c.size)
		}
	}
	return start, end, nil
}

func (c *content) fail(err error) error {
	return fmt.Errorf("inode %d of subvolume %d: %w", c.inode, c.tree.id, err)
}

// read fills p from off on, all of which lies within the file.
func (c *content) read(p []byte, off int64) (int, error) {
	x, err := c.tree.extentsFrom(c.inode, uint64(off))
	if err != nil {
		return 0, c.fail(err)
	}
	f := filler{c: c, p: p, off: uint64(off)}
	for f.done < len(p) {
		e, ok, err := x.next()
		if err != nil {
			f.flush()
			return f.filled, c.fail(err)
		}
		if !ok {
			break
		}
		if err := f.add(&e); err != nil {
			return f.filled, c.fail(err)
		}
	}
	if err := f.flush(); err != nil {
		return f.filled, c.fail(err)
	}
	clear(p[f.filled:]) // behind the last extent
	return len(p), nil
}

// filler fills a buffer from extents. It reads those that lie one after the other on the
// device together: run bytes from logical on, which are the ones between filled and
// done.
type filler struct {
	c            *content
	p            []byte
	off          uint64 // of p in the file
	filled, done int
	logical      uint64
}

// add takes the part of an extent that belongs into the buffer.
func (f *filler) add(e *extent) error {
	from, to := f.off+uint64(f.done), f.off+uint64(len(f.p))
	if e.end <= from {
		return nil
	}
	if e.start > from || !e.hasData() {
		// A hole up to the extent, or up to its end.
		until := e.start
		if e.start <= from {
			until = e.end
		}
		if err := f.flush(); err != nil {
			return err
		}
		n := int(min(until, to) - from)
		clear(f.p[f.done : f.done+n])
		f.done += n
		f.filled = f.done
		if e.start <= from || until >= to {
			return nil
		}
		return f.add(e)
	}
	n := int(min(e.end, to) - from)
	if e.kind == extentRegular && e.compression == compressNone {
		logical := e.disk + e.offset + (from - e.start)
		if f.filled < f.done && logical != f.logical+uint64(f.done-f.filled) {
			if err := f.flush(); err != nil {
				return err
			}
		}
		if f.filled == f.done {
			f.logical = logical
		}
		f.done += n
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	if err := f.c.tree.r.readPacked(f.p[f.done:f.done+n], f.c.verify, e, from-e.start); err != nil {
		return err
	}
	f.done += n
	f.filled = f.done
	return nil
}

// flush reads what was put together.
func (f *filler) flush() error {
	if f.filled == f.done {
		return nil
	}
	if err := f.c.tree.r.readRange(f.p[f.filled:f.done], f.logical, f.c.verify); err != nil {
		return err
	}
	f.filled = f.done
	return nil
}
