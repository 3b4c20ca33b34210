package blockindex

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is the index of one image. Its methods are safe for concurrent use, apart from
// [File.Close]; a [File.Present] or a walk of a [Chain] beside a [File.Set] may
// or may not see what that sets.
type File struct {
	f     *os.File
	head  header
	cache [slots]page
}

// Create makes the index of an image of a disk of diskSize bytes, 1 to [MaxSize], in
// which every block is absent. The file must not exist. A full file system is
// ENOSPC or EDQUOT.
func Create(path string, diskSize int64) (*File, error) {
	if diskSize < 1 || diskSize > MaxSize {
		return nil, fmt.Errorf("block index %s: a disk of %d bytes", path, diskSize)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("block index: %w", err)
	}
	x := &File{f: f, head: header{diskSize, Blocks(diskSize)}}
	if err := f.Truncate(fileSize(x.Blocks())); err != nil {
		return nil, errors.Join(x.wrap(err), f.Close())
	}
	if _, err := f.WriteAt(x.head.encode(), 0); err != nil {
		return nil, errors.Join(x.wrap(err), f.Close())
	}
	return x, nil
}

// Open opens an index for reading. The file is checked: an error is [ErrFormat],
// [ErrVersion] or the system's.
func Open(path string) (*File, error) { return open(path, os.O_RDONLY, header.fits) }

// OpenWritable opens an index for reading and writing, with the errors of [Open].
func OpenWritable(path string) (*File, error) { return open(path, os.O_RDWR, header.fits) }

// fits tells whether a file is as long as its header says.
func (h header) fits(length int64) bool { return length == fileSize(h.blocks()) }

// open opens a file whose length fits its header.
func open(path string, flags int, fits func(header, int64) bool) (*File, error) {
	// Non-blocking, lest opening a pipe waits for its other end.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("block index: %w", err)
	}
	x := &File{f: f}
	if err := x.readHeader(fits); err != nil {
		return nil, errors.Join(x.wrap(err), f.Close())
	}
	return x, nil
}

func (x *File) readHeader(fits func(header, int64) bool) error {
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: no regular file", ErrFormat)
	}
	b := make([]byte, headerSize)
	switch _, err = x.f.ReadAt(b, 0); {
	case err == io.EOF:
		return fmt.Errorf("%w: it has %d bytes", ErrFormat, info.Size())
	case err != nil:
		return err
	}
	if x.head, err = parseHeader(b); err != nil {
		return err
	}
	if !fits(x.head, info.Size()) {
		return fmt.Errorf("%w: it has %d bytes, which does not fit a disk of %d bytes", ErrFormat, info.Size(), x.head.size)
	}
	return nil
}

// Size is the disk's size in bytes.
func (x *File) Size() int64 { return x.head.size }

// Blocks is the number of the disk's blocks.
func (x *File) Blocks() int64 { return x.head.blocks() }

// Sync makes durable what was set.
func (x *File) Sync() error {
	if err := x.flush(); err != nil {
		return err
	}
	return x.wrap(x.f.Sync())
}

// Close closes the file. What was set since the last [File.Sync] may be lost.
func (x *File) Close() error { return x.f.Close() }

// wrap names the file, which errors of the system do on their own.
func (x *File) wrap(err error) error {
	var p *os.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return fmt.Errorf("block index: %w", err)
	}
	return fmt.Errorf("block index %s: %w", x.f.Name(), err)
}
