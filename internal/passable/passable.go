// Package passable makes folders that other users, as qemu's, can pass through and not list,
// whatever the umask: a replica in a folder that is closed to qemu cannot be started.
//
// It must never open a folder that it has not made, but for [Ensure].
package passable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mode is that of the folders.
const mode = 0o711

// MkdirAll makes a folder and those above it that are missing, and tells whether it has made
// the folder itself. One that is there stays as it is.
func MkdirAll(dir string) (made bool, err error) {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return false, &os.PathError{Op: "mkdir", Path: dir, Err: errors.New("something else is there")}
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	if above := filepath.Dir(dir); above != dir {
		if _, err := MkdirAll(above); err != nil {
			return false, err
		}
	}
	switch err := os.Mkdir(dir, mode); {
	case errors.Is(err, fs.ErrExist):
		return false, nil // somebody else was faster
	case err != nil:
		return false, err
	}
	return true, os.Chmod(dir, mode)
}

// Ensure makes a folder that is there passable if it is not. It is for folders that belong
// to vmsync alone.
func Ensure(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if have := info.Mode().Perm(); have&0o011 != 0o011 {
		if err := os.Chmod(dir, have|0o011); err != nil {
			return fmt.Errorf("let qemu pass through a folder: %w", err)
		}
	}
	return nil
}
