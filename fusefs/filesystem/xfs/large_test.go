package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// TestFileLargerThanItsDevice reads a file of 5 TiB in a few places, and compares where it
// has data with what the kernel says.
func TestFileLargerThanItsDevice(t *testing.T) {
	const size = 5 << 40
	image := fstest.Make(t, imageSize, "mkfs.xfs", "-q")
	dir := fstest.Mount(t, image, "")
	file, err := os.Create(filepath.Join(dir, "large"))
	must(t, err)
	defer file.Close()
	mark := []byte("somewhere in a large file")
	places := []int64{0, 4095, 1 << 32, 10 << 30, 1<<40 + 12345, size - 100}
	for _, at := range places {
		_, err := file.WriteAt(mark, at)
		must(t, err)
	}
	must(t, file.Truncate(size))
	must(t, unix.Fallocate(int(file.Fd()), 0, 2<<40, 100<<20))
	must(t, file.Sync())

	type piece struct{ start, end int64 }
	var kernels []piece
	for at := int64(0); ; {
		start, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if err != nil {
			break
		}
		end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
		must(t, err)
		kernels = append(kernels, piece{start, end})
		at = end
	}
	must(t, file.Close())
	fstest.Unmount(t, dir)

	fsys := mustOpen(t, image)
	ours, err := fsys.Open(mustLookup(t, fsys, "large"))
	must(t, err)
	var pieces []piece
	for at := int64(0); at < size; {
		start, end, err := ours.Data(at)
		must(t, err)
		if n := len(pieces); n > 0 && pieces[n-1].end == start {
			pieces[n-1].end = end
		} else if start < size {
			pieces = append(pieces, piece{start, end})
		}
		at = end
	}
	if len(pieces) != len(kernels) {
		t.Fatalf("data at %v; the kernel says %v", pieces, kernels)
	}
	for i := range pieces {
		if pieces[i] != kernels[i] {
			t.Errorf("data at %v; the kernel says %v", pieces[i], kernels[i])
		}
	}
	for _, at := range places {
		// The last byte before it, which is a hole or the end of what was written before.
		b := make([]byte, len(mark)+50)
		n, err := ours.ReadAt(b, at)
		if err != nil && err != io.EOF || !bytes.HasPrefix(b[:n], mark[:min(len(mark), n)]) {
			t.Errorf("at %d: %q, %v", at, b[:n], err)
		}
	}
	if _, err := ours.ReadAt(make([]byte, 1), size); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	b := bytes.Repeat([]byte{1}, 1<<20)
	if _, err := ours.ReadAt(b, 2<<40); err != nil || !bytes.Equal(b, make([]byte, 1<<20)) {
		t.Errorf("what was never written does not read as zeros: %v", err)
	}
}

// TestDirectoryOfManyFiles looks every file of a large directory up.
func TestDirectoryOfManyFiles(t *testing.T) {
	const files = 100000
	image := fstest.Make(t, imageSize, "mkfs.xfs", "-q")
	dir := fstest.Mount(t, image, "")
	for n := range files {
		must(t, unix.Mknod(filepath.Join(dir, fmt.Sprintf("file-%d", n)), unix.S_IFREG|0o644, 0))
	}
	for n := 0; n < files; n += 3 {
		must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("file-%d", n))))
	}
	fstest.Unmount(t, dir)
	fsys := mustOpen(t, image)
	seen := map[string]filesystem.ID{}
	for entry, err := range fsys.ReadDir(fsys.Root()) {
		must(t, err)
		if seen[entry.Name] != 0 || entry.Mode != unix.S_IFREG {
			t.Fatalf("%q for the second time, or of mode %o", entry.Name, entry.Mode)
		}
		seen[entry.Name] = entry.ID
	}
	if want := files - (files+2)/3; len(seen) != want {
		t.Errorf("%d entries of %d", len(seen), want)
	}
	for n := range files {
		name := fmt.Sprintf("file-%d", n)
		id, err := fsys.Lookup(fsys.Root(), name)
		if id != seen[name] || (n%3 == 0) != errors.Is(err, filesystem.ErrNotExist) {
			t.Fatalf("%s is inode %d, %v; the directory says %d", name, id, err, seen[name])
		}
	}
}
