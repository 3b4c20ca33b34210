package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/export"
)

// indexes are index files being made.
type indexes []*indexFile

type indexFile struct {
	*blockindex.File
	disk, path string
}

// create makes one more.
func (x *indexes) create(disk, path string, size int64) (*blockindex.File, error) {
	f, err := blockindex.Create(path, size)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil, specError(fmt.Errorf("disk %q: %w", disk, err))
	case err != nil:
		return nil, &export.IndexError{Disk: disk, Err: err}
	}
	*x = append(*x, &indexFile{f, disk, path})
	return f, nil
}

// finish makes the files durable, and their names.
func (x indexes) finish() error {
	for _, f := range x {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return &export.IndexError{Disk: f.disk, Err: err}
		}
		if err := syncFolder(filepath.Dir(f.path)); err != nil {
			return &export.IndexError{Disk: f.disk, Err: err}
		}
	}
	return nil
}

// drop removes the files: half an index is of use to nobody, and would be in the way of the
// next. An error is not worth more than the one that led here.
func (x indexes) drop() {
	for _, f := range x {
		_ = f.Close()
		_ = os.Remove(f.path)
	}
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
