package fat

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

// benchmarkImage has a directory of 20,000 files. mtools would take minutes to make it, so
// its entries are written as a file, which is then declared a directory.
func benchmarkImage(b *testing.B) *volume {
	root := b.TempDir()
	var content []byte
	for i := range 20000 {
		r := record([]byte(fmt.Sprintf("A%07dTXT%s", i, strings.Repeat("\x00", 21))))
		for _, part := range longRecords(fmt.Sprintf("a file's name %05d.text", i), &r) {
			content = append(content, part[:]...)
		}
		binary.LittleEndian.PutUint16(r[26:], 3)
		binary.LittleEndian.PutUint32(r[28:], 7)
		content = append(content, r[:]...)
	}
	write(b, root, "many", content)
	write(b, root, "large", random(1, 64<<20))
	image := format(b, 512<<20, "-F", "32", "-s", "8")
	copyIn(b, image, root)
	at := int64(find(b, openImage(b, image), "many")) * recordSize
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{attrDir}, at+11); err != nil {
		b.Fatal(err)
	}
	return openImage(b, image)
}

func Benchmark(b *testing.B) {
	v := benchmarkImage(b)
	many := find(b, v, "many")
	var names []string
	for e, err := range v.ReadDir(many) {
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, e.Name)
	}
	b.Run("SmallFile", func(b *testing.B) {
		defer fstest.CPU(b)()
		p := make([]byte, 4096)
		for i := range b.N {
			id, err := v.Lookup(many, names[i%len(names)])
			if err != nil {
				b.Fatal(err)
			}
			if _, err := v.Stat(id); err != nil {
				b.Fatal(err)
			}
			file, err := v.Open(id)
			if err != nil {
				b.Fatal(err)
			}
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
		if err != nil {
			b.Fatal(err)
		}
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
