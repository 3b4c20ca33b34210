package ntfs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

func Benchmark(b *testing.B) {
	image := fstest.Make(b, 512<<20, "mkfs.ntfs", "-F", "-q", "-Q")
	dir := mount(b, image, mountOptions)
	for i := range 20000 {
		write(b, dir, fmt.Sprintf("many/a file of some length %05d.text", i), []byte("content"))
	}
	content := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	write(b, dir, "large", content)
	unmount(b, dir, image)
	v := openImage(b, image)
	many := find(b, v, "many")
	var names []string
	for e, err := range v.ReadDir(many) {
		must(b, err)
		names = append(names, e.Name)
	}
	b.Run("SmallFile", func(b *testing.B) {
		defer fstest.CPU(b)()
		p := make([]byte, 4096)
		for i := range b.N {
			id, err := v.Lookup(many, names[i%len(names)])
			must(b, err)
			_, err = v.Stat(id)
			must(b, err)
			file, err := v.Open(id)
			must(b, err)
			if n, _ := file.ReadAt(p, 0); n != 7 {
				b.Fatal(n)
			}
		}
	})
	b.Run("ReadDir20000", func(b *testing.B) {
		defer fstest.CPU(b)()
		for range b.N {
			n := 0
			for range v.ReadDir(many) {
				n++
			}
			if n != 20000 {
				b.Fatal(n)
			}
		}
	})
	b.Run("Sequential", func(b *testing.B) {
		defer fstest.CPU(b)()
		file, err := v.Open(find(b, v, "large"))
		must(b, err)
		p := make([]byte, 1<<20)
		b.SetBytes(file.Size())
		for range b.N {
			for off := int64(0); off < file.Size(); off += int64(len(p)) {
				if _, err := file.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
