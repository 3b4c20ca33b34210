// Package workdir makes folders for what a program needs only while it runs. One that a
// killed program left is removed by the next.
package workdir

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// parent is on a disk rather than in memory: what goes into a folder can be large.
const parent = "/var/tmp"

// Dir is a folder that only this user can enter. It dies with the process, but for what it
// takes on the disk, which is freed by the next [Make] of that prefix.
type Dir struct {
	Path string
	lock *os.File
}

// Make makes a folder whose name begins with prefix.
func Make(prefix string) (*Dir, error) { return makeIn(parent, prefix) }

func makeIn(parent, prefix string) (*Dir, error) {
	sweep(parent, prefix)
	path, err := os.MkdirTemp(parent, prefix+"-")
	if err != nil {
		return nil, err
	}
	// Whoever sweeps between the two takes an empty folder away, and this one fails.
	lock, err := hold(path)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &Dir{Path: path, lock: lock}, nil
}

// hold locks a folder, for as long as the file is open.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}

// sweep removes the folders that nobody holds. What fails is left to the next one.
func sweep(parent, prefix string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, prefix+"-*"))
	for _, dir := range dirs {
		if f, err := hold(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = f.Close()
		}
	}
}

// Remove removes the folder and all that is in it.
func (d *Dir) Remove() error { return errors.Join(os.RemoveAll(d.Path), d.lock.Close()) }
