// Package newfile gives files that were written under a temporary name their final one,
// and makes both durable. It must never replace a file that is there.
package newfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Place gives a file another name in the same file system, which must be free: otherwise
// errors.Is(err, fs.ErrExist) holds. It is durable when the folder is.
func Place(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot
		if _, err = os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(from, to)
		} else if err == nil {
			err = fs.ErrExist
		}
	}
	if err != nil {
		return &os.PathError{Op: "rename to", Path: to, Err: err}
	}
	return nil
}

// Sync makes a file or a folder durable.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
