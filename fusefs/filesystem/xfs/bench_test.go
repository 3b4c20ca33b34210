package xfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// filled makes an image with what fill puts in it.
func filled(b *testing.B, size int64, fill func(dir string)) string {
	b.Helper()
	image := fstest.Make(b, size, "mkfs.xfs", "-q")
	dir := fstest.Mount(b, image, "")
	fill(dir)
	fstest.Unmount(b, dir)
	if mustOpen(b, image).Info().Replayed {
		b.Fatal("the filesystem is still mounted elsewhere")
	}
	return image
}

// cpu reports the processor's time for each round, which tells more than the clock does on a
// machine that has other things to do.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var usage unix.Rusage
		must(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
		return usage.Utime.Nano() + usage.Stime.Nano()
	}
	begin := used()
	return func() { b.ReportMetric(float64(used()-begin)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkSmallFiles(b *testing.B) {
	const dirs, files = 20, 1000
	image := filled(b, imageSize, func(dir string) {
		for d := range dirs {
			sub := filepath.Join(dir, fmt.Sprint(d))
			must(b, os.Mkdir(sub, 0o755))
			for n := range files {
				must(b, os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-%d", n)), make([]byte, 3000), 0o644))
			}
		}
	})
	raw, err := os.ReadFile(image)
	must(b, err)
	fsys, err := Open(&edited{base: raw})
	must(b, err)
	buf := make([]byte, 3000)
	b.ReportAllocs()
	defer cpu(b)()
	for n := 0; b.Loop(); n++ {
		d := n / files % dirs
		dir, err := fsys.Lookup(fsys.Root(), fmt.Sprint(d))
		must(b, err)
		id, err := fsys.Lookup(dir, fmt.Sprintf("file-%d", n%files))
		must(b, err)
		if _, err := fsys.Stat(id); err != nil {
			b.Fatal(err)
		}
		file, err := fsys.Open(id)
		must(b, err)
		if _, err := file.ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSequential(b *testing.B) {
	const size = 512 << 20
	image := filled(b, 2<<30, func(dir string) {
		file, err := os.Create(filepath.Join(dir, "large"))
		must(b, err)
		defer file.Close()
		buf := make([]byte, 1<<20)
		for i := range buf {
			buf[i] = byte(i)
		}
		for range size >> 20 {
			_, err := file.Write(buf)
			must(b, err)
		}
	})
	fsys := mustOpen(b, image)
	file, err := fsys.Open(mustLookup(b, fsys, "large"))
	must(b, err)
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	defer cpu(b)()
	for b.Loop() {
		for off := int64(0); off < size; off += int64(len(buf)) {
			if _, err := file.ReadAt(buf, off); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkReadDir(b *testing.B) {
	const files = 100000
	image := filled(b, imageSize, func(dir string) {
		for n := range files {
			must(b, unix.Mknod(filepath.Join(dir, fmt.Sprintf("file-%d", n)), unix.S_IFREG|0o644, 0))
		}
	})
	fsys := mustOpen(b, image)
	defer cpu(b)()
	for b.Loop() {
		n := 0
		for _, err := range fsys.ReadDir(fsys.Root()) {
			must(b, err)
			n++
		}
		if n != files {
			b.Fatalf("%d entries", n)
		}
	}
}

func BenchmarkLookupInLargeDirectory(b *testing.B) {
	const files = 100000
	image := filled(b, imageSize, func(dir string) {
		for n := range files {
			must(b, unix.Mknod(filepath.Join(dir, fmt.Sprintf("file-%d", n)), unix.S_IFREG|0o644, 0))
		}
	})
	fsys := mustOpen(b, image)
	var last filesystem.ID
	defer cpu(b)()
	for n := 0; b.Loop(); n++ {
		id, err := fsys.Lookup(fsys.Root(), fmt.Sprintf("file-%d", n*7919%files))
		must(b, err)
		last = id
	}
	_ = last
}
