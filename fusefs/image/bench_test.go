package image

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// benchChain is a chain over a full disk of 256 MiB, every image with 100 pieces of its own.
func benchChain(b *testing.B, n int) string {
	if path := os.Getenv("IMAGE_BENCH"); path != "" {
		return path
	}
	const size = 256 * mib
	dir := b.TempDir()
	path := create(b, dir, "0", size, "")
	write(b, path, fmt.Sprintf("write -q -P 1 0 %d", size))
	for k := 1; k < n; k++ {
		path = create(b, dir, fmt.Sprint(k), size, over(fmt.Sprint(k-1), "qcow2"))
		rnd := rand.New(rand.NewPCG(uint64(k), 1))
		var commands []string
		for range 100 {
			commands = append(commands, fmt.Sprintf("write -q -P %d %d %d", k%256, rnd.Int64N(size/65536)*65536, 65536))
		}
		write(b, path, commands...)
	}
	return path
}

func BenchmarkSequential(b *testing.B) {
	for _, n := range []int{1, 10, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i := open(b, benchChain(b, n), NewCache(16*mib))
			buf := make([]byte, mib)
			b.SetBytes(mib)
			off := int64(0)
			for b.Loop() {
				if _, err := i.ReadAt(buf, off); err != nil {
					b.Fatal(err)
				}
				if off += mib; off+mib > i.Size() {
					off = 0
				}
			}
		})
	}
}

func BenchmarkRandom(b *testing.B) {
	for _, n := range []int{1, 10, 64} {
		i := open(b, benchChain(b, n), NewCache(16*mib))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, 4096)
			for b.Loop() {
				if _, err := i.ReadAt(buf, rand.Int64N(i.Size()/4096)*4096); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(n, " parallel"), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 4096)
				for pb.Next() {
					if _, err := i.ReadAt(buf, rand.Int64N(i.Size()/4096)*4096); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1, 10, 64} {
		path := benchChain(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				i, err := Open(path, NewCache(16*mib))
				if err != nil {
					b.Fatal(err)
				}
				i.Close()
			}
		})
	}
}

// BenchmarkResolve is the first read of each part of a chain.
func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{1, 10, 64} {
		i := open(b, benchChain(b, n), NewCache(16*mib))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := i.resolve(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompressed(b *testing.B) {
	for _, kind := range []string{"zlib", "zstd"} {
		dir := b.TempDir()
		half(b, filepath.Join(dir, "raw"), 32*mib)
		runIn(b, dir, "qemu-img", "convert", "-t", "unsafe", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type="+kind, "raw", "a")
		i := open(b, filepath.Join(dir, "a"), NewCache(4*mib))
		b.Run(kind, func(b *testing.B) {
			buf := make([]byte, mib)
			b.SetBytes(mib)
			off := int64(0)
			for b.Loop() {
				if _, err := i.ReadAt(buf, off); err != nil {
					b.Fatal(err)
				}
				off = (off + mib) % i.Size()
			}
		})
	}
}
