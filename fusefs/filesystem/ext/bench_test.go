package ext_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// inMemory reads an image into memory, so that this package alone is measured.
func inMemory(b *testing.B, image string) filesystem.FS {
	b.Helper()
	raw, err := os.ReadFile(image)
	if err != nil {
		b.Fatal(err)
	}
	fsys, err := ext.Open(device.OfReaderAt(bytes.NewReader(raw), int64(len(raw))))
	if err != nil {
		b.Fatal(err)
	}
	return fsys
}

// BenchmarkSmallFiles looks up, describes, opens and reads a file of 2 KiB each time.
func BenchmarkSmallFiles(b *testing.B) {
	const files = 20_000
	image := makeImage(b, 192, "-t ext4 -N 30000")
	mount := fstest.Mount(b, image, "")
	if err := os.Mkdir(filepath.Join(mount, "dir"), 0o755); err != nil {
		b.Fatal(err)
	}
	for n := range files {
		if err := os.WriteFile(filepath.Join(mount, "dir", fmt.Sprintf("file-%d", n)), make([]byte, 2048), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	fstest.Unmount(b, mount)
	fsys := inMemory(b, image)
	dir := lookup(b, fsys, "dir")
	var names []string
	for entry, err := range fsys.ReadDir(dir) {
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, entry.Name)
	}
	buf := make([]byte, 2048)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		id, err := fsys.Lookup(dir, names[n%files])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fsys.Stat(id); err != nil {
			b.Fatal(err)
		}
		file, err := fsys.Open(id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := file.ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadDir lists a directory of 100,000 files.
func BenchmarkReadDir(b *testing.B) {
	image := makeImage(b, 256, "-t ext4 -N 110000")
	mount := fstest.Mount(b, image, "")
	for n := range 100_000 {
		f, err := os.Create(filepath.Join(mount, name(n)))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	fstest.Unmount(b, mount)
	fsys := inMemory(b, image)
	for b.Loop() {
		for _, err := range fsys.ReadDir(fsys.Root()) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSequential reads a file of 256 MiB from an image in the page cache.
func BenchmarkSequential(b *testing.B) {
	const size = 256 << 20
	image := makeImage(b, 400, "-t ext4")
	mount := fstest.Mount(b, image, "")
	if err := os.WriteFile(filepath.Join(mount, "file"), bytes.Repeat([]byte("content\n"), size/8), 0o644); err != nil {
		b.Fatal(err)
	}
	fstest.Unmount(b, mount)
	fsys := open(b, image)
	file, err := fsys.Open(lookup(b, fsys, "file"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		for at := int64(0); at < size; at += int64(len(buf)) {
			if _, err := file.ReadAt(buf, at); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkOpen opens a filesystem whose journal holds changes.
func BenchmarkOpen(b *testing.B) {
	image := makeImage(b, 200, "-t ext4 -J size=64")
	mount := fstest.Mount(b, image, "data=journal,commit=300")
	for n := range 10 {
		file, err := os.Create(filepath.Join(mount, name(n)))
		if err != nil {
			b.Fatal(err)
		}
		file.Write(make([]byte, 4<<20))
		file.Sync()
		file.Close()
	}
	copied := fstest.Copy(b, image)
	raw, err := os.ReadFile(copied)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fsys, err := ext.Open(device.OfReaderAt(bytes.NewReader(raw), int64(len(raw))))
		if err != nil || !fsys.Info().Replayed {
			b.Fatal(err)
		}
	}
}
