package device

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File is a raw image in a file. The caller closes it.
type File struct {
	file *os.File
	size int64
}

// OpenFile opens the raw image at path.
func OpenFile(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := OfFile(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

// OfFile returns the raw image in a file that is open already. Closing either closes both.
func OfFile(file *os.File) (*File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &File{file, info.Size()}, nil
}

// Size implements Device.
func (f *File) Size() int64 { return f.size }

// ReadAt implements Device.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return ReadWithin(p, off, f.size, f.file.ReadAt)
}

// Data implements Device by SEEK_DATA and SEEK_HOLE.
func (f *File) Data(off int64) (int64, int64, error) {
	if off >= f.size {
		return f.size, f.size, nil
	}
	start, err := unix.Seek(int(f.file.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return f.size, f.size, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking for data in %s: %w", f.file.Name(), err)
	}
	end, err := unix.Seek(int(f.file.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("looking for a hole in %s: %w", f.file.Name(), err)
	}
	return min(start, f.size), min(end, f.size), nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
