package image

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzImage reads chains of two images with bytes changed: the input's first byte chooses
// the chain, and each five bytes after it are a file, an offset and a value.
func FuzzImage(f *testing.F) {
	type files [2][]byte
	var chains []files
	for _, options := range []string{"cluster_size=512", "cluster_size=16k,extended_l2=on", "cluster_size=4k,compression_type=zstd", "compat=0.10,cluster_size=1k"} {
		const size = 200 * kib
		dir := f.TempDir()
		half(f, filepath.Join(dir, "raw"), size)
		runIn(f, dir, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, "raw", "base")
		write(f, filepath.Join(dir, "base"), scatter(1, size, 8)...)
		top := create(f, dir, "top", size, over("base", "qcow2")+","+options)
		write(f, top, scatter(2, size, 8)...)
		var c files
		for n, name := range []string{"base", "top"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				f.Fatal(err)
			}
			c[n] = b
		}
		chains = append(chains, c)
	}
	for kind := range chains {
		f.Add([]byte{byte(kind)})
		for _, at := range []byte{4, 11, 20, 23, 24, 31, 39, 47, 79, 103, 104} {
			f.Add([]byte{byte(kind), 1, 0, 0, at, 0xff, 0, 0, 0, at, 9})
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		dir, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		chain := chains[int(input[0])%len(chains)]
		edited := files{bytes.Clone(chain[0]), bytes.Clone(chain[1])}
		for e := input[1:]; len(e) >= 5; e = e[5:] {
			b := edited[e[0]&1]
			b[(int(e[1])<<16|int(e[2])<<8|int(e[3]))%len(b)] = e[4]
		}
		for n, name := range []string{"base", "top"} {
			if err := os.WriteFile(filepath.Join(dir, name), edited[n], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		i, err := Open(filepath.Join(dir, "top"), NewCache(mib))
		if err != nil {
			return
		}
		defer i.Close()
		exercise(t, i)
	})
}

// exercise reads from an image that may be damaged; what Data passes over must be zeros
// where it can be read.
func exercise(t *testing.T, i *Image) {
	buf := make([]byte, 256*kib)
	for n, off := 0, int64(0); n < 50 && off < i.Size(); n++ {
		start, end, err := i.Data(off)
		if err != nil {
			t.Fatal(err)
		}
		if start < off || end < start || end > i.Size() || start == end && end != i.Size() {
			t.Fatalf("Data(%d) is %d to %d of %d", off, start, end, i.Size())
		}
		hole := buf[:min(start-off, int64(len(buf)))]
		if _, err := i.ReadAt(hole, off); err != nil || len(bytes.Trim(hole, "\x00")) != 0 {
			t.Fatalf("hole from %d to %d reads otherwise: %v", off, start, err)
		}
		i.ReadAt(buf[:min(end-start, int64(len(buf)))], start)
		off = end
	}
	for _, off := range []int64{0, 1000, i.Size() / 2, i.Size() - 1000, i.Size() - 1} {
		if off >= 0 {
			i.ReadAt(buf[:5000], off)
		}
	}
}
