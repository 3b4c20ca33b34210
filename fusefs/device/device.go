// Package device is how everything under a replica's tree is read: images, partitions,
// logical volumes and the filesystems in them are each an array of bytes that can be
// asked where it holds data.
//
// It must never write, and it must never trust what it reads: a guest wrote it.
package device

import (
	"errors"
	"fmt"
	"io"
)

// A Device is a read-only array of bytes.
//
// ReadAt follows io.ReaderAt: it fills the whole buffer, or says why not; at the end
// it returns what there is with io.EOF. Every method may be called by many goroutines
// at once.
type Device interface {
	io.ReaderAt

	// Size is the device's length in bytes. It never changes.
	Size() int64

	// Data returns the first range of bytes at or after off, [start, end), that may
	// hold something else than zeros; what lies between off and start reads as zeros. Where
	// only zeros follow, start and end are Size(). A range may end early: the next one
	// may begin where it ends.
	Data(off int64) (start, end int64, err error)
}

// ErrOutOfRange is returned for parts of a device that lie outside of it.
var ErrOutOfRange = errors.New("outside of the device")

// Section returns the length bytes of d from off on. It returns ErrOutOfRange where d
// does not have them all.
func Section(d Device, off, length int64) (Device, error) {
	if off < 0 || length < 0 || off > d.Size() || length > d.Size()-off {
		return nil, fmt.Errorf("bytes %d to %d of %d: %w", off, off+length, d.Size(), ErrOutOfRange)
	}
	return &section{d, off, length}, nil
}

type section struct {
	of          Device
	off, length int64
}

func (s *section) Size() int64 { return s.length }

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	return ReadWithin(p, off, s.length, func(p []byte, off int64) (int, error) {
		return s.of.ReadAt(p, s.off+off)
	})
}

func (s *section) Data(off int64) (int64, int64, error) {
	if off >= s.length {
		return s.length, s.length, nil
	}
	start, end, err := s.of.Data(s.off + off)
	if err != nil {
		return 0, 0, err
	}
	return min(start-s.off, s.length), min(end-s.off, s.length), nil
}

// ReadWithin calls read for the part of p that lies within size bytes, and adds the
// io.EOF that io.ReaderAt asks for where that is not all of p.
func ReadWithin(p []byte, off, size int64, read func(p []byte, off int64) (int, error)) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d: %w", off, ErrOutOfRange)
	}
	if off >= size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	short := int64(len(p)) > size-off
	if short {
		p = p[:size-off]
	}
	n, err := read(p, off)
	if n == len(p) && (err == nil || errors.Is(err, io.EOF)) {
		if short {
			return n, io.EOF
		}
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// OfReaderAt returns the size bytes of r as a device without holes.
func OfReaderAt(r io.ReaderAt, size int64) Device { return &plain{r, size} }

type plain struct {
	r    io.ReaderAt
	size int64
}

func (p *plain) Size() int64 { return p.size }

func (p *plain) ReadAt(b []byte, off int64) (int, error) {
	return ReadWithin(b, off, p.size, p.r.ReadAt)
}

func (p *plain) Data(off int64) (int64, int64, error) { return min(off, p.size), p.size, nil }
