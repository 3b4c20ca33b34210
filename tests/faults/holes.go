package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData finds the next range of a file, from offset on, that is not a hole. There
// is none if it begins at size.
func nextData(f *os.File, offset, size int64) (begin, end int64, err error) {
	begin, err = unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
	return begin, end, err
}
