package btrfs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

func BenchmarkSmallFiles(b *testing.B) {
	i := makeImages(b, 1, 512<<20)
	dir, unmount := i.mount(b, "")
	const files = 20000
	content := make([]byte, 3000)
	for n := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", n)), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	unmount()
	fsys := i.open(b)
	buf := make([]byte, 4096)
	n := 0
	b.ResetTimer()
	for b.Loop() {
		id, err := fsys.Lookup(fsys.Root(), fmt.Sprintf("file-%d", n%files))
		if err != nil {
			b.Fatal(err)
		}
		n++
		if _, err := fsys.Stat(id); err != nil {
			b.Fatal(err)
		}
		file, err := fsys.Open(id)
		if err != nil {
			b.Fatal(err)
		}
		if got, err := file.ReadAt(buf, 0); got != len(content) || err != io.EOF {
			b.Fatal(got, err)
		}
	}
}

func BenchmarkSequentialRead(b *testing.B) {
	for _, options := range []string{"", "compress-force=zstd", "compress-force=lzo", "compress-force=zlib"} {
		b.Run("mounted "+options, func(b *testing.B) {
			i := makeImages(b, 1, 1<<30)
			dir, unmount := i.mount(b, options)
			random := rand.New(rand.NewPCG(1, 1))
			var content []byte
			for len(content) < 256<<20 {
				content = fmt.Appendf(content, "%d some words that come again, %x\n", len(content), random.Uint32N(100000))
			}
			if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o644); err != nil {
				b.Fatal(err)
			}
			unmount()
			fsys := i.open(b)
			file, err := fsys.Open(find(b, fsys, "file"))
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 1<<20)
			b.SetBytes(int64(len(buf)))
			off := int64(0)
			b.ResetTimer()
			for b.Loop() {
				if _, err := file.ReadAt(buf, off); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(len(buf))) % (256 << 20)
			}
		})
	}
}

func BenchmarkReadDir(b *testing.B) {
	fsys := manyFiles(b)
	dir := find(b, fsys, "many")
	b.ResetTimer()
	for b.Loop() {
		n := 0
		for range fsys.ReadDir(dir) {
			n++
		}
		if n != manyCount {
			b.Fatal(n)
		}
	}
}

const manyCount = 100000

// manyFiles makes a directory of 100,000 files.
func manyFiles(t testing.TB) filesystem.FS {
	t.Helper()
	i := makeImages(t, 1, 512<<20)
	dir, unmount := i.mount(t, "noatime")
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range manyCount {
		// One call for each, which takes half as long.
		if err := unix.Mknod(filepath.Join(many, fmt.Sprintf("file-%d", n)), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	return i.open(t)
}
