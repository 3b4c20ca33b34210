package image

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// chain makes n images over each other and returns the uppermost.
func chain(t testing.TB, dir string, n int, size int64, options string, writes int) string {
	t.Helper()
	path := ""
	for k := range n {
		o := options
		if k > 0 {
			o = over(fmt.Sprint(k-1), "qcow2") + options
		}
		path = create(t, dir, fmt.Sprint(k), size, o)
		write(t, path, scatter(uint64(k), size, writes)...)
	}
	return path
}

func TestChains(t *testing.T) {
	for _, test := range []struct {
		length int
		size   int64
		writes int
	}{{2, 8 * mib, 40}, {10, 8 * mib, 20}, {64, 64 * mib, 10}} {
		t.Run(fmt.Sprint(test.length), func(t *testing.T) {
			t.Parallel()
			check(t, chain(t, t.TempDir(), test.length, test.size, "", test.writes))
		})
	}
}

// TestMixedChain has images of all kinds over a raw one, of all sizes.
func TestMixedChain(t *testing.T) {
	for name, rawSize := range map[string]int64{"short raw image": mib + 1000, "long raw image": 9 * mib} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			base, err := os.Create(filepath.Join(dir, "raw"))
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off+10000 < rawSize; off += 300_000 {
				if _, err := base.WriteAt([]byte(fmt.Sprintf("%10000d", off)), off); err != nil {
					t.Fatal(err)
				}
			}
			if err := base.Truncate(rawSize); err != nil {
				t.Fatal(err)
			}
			base.Close()
			below, format := "raw", "raw"
			for k, over := range []struct {
				size    int64
				options string
			}{
				{3*mib + 512, "cluster_size=2M"},
				{2*mib + 1024, ""},
				{8 * mib, "extended_l2=on"},
				{5*mib + 1536, "cluster_size=512"},
				{6 * mib, "compat=0.10"},
				{4*mib + 512, "extended_l2=on,cluster_size=2M"},
				{7*mib + 512, "cluster_size=8k"},
			} {
				name := fmt.Sprint(k)
				path := create(t, dir, name, over.size, fmt.Sprintf("backing_file=%s,backing_fmt=%s,%s", below, format, over.options))
				write(t, path, scatter(uint64(k), over.size, 6)...)
				check(t, path)
				below, format = name, "qcow2"
			}
		})
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := chain(t, dir, 5, 8*mib, ",cluster_size=4k", 40)
	runIn(t, dir, "qemu-img", "convert", "-t", "unsafe", "-c", "-f", "qcow2", "-O", "qcow2", path, "packed")
	want := content(t, path)
	c := NewCache(300 * kib) // too small for all of it
	images := []*Image{open(t, path, c), open(t, path, c), open(t, filepath.Join(dir, "packed"), c)}
	var group sync.WaitGroup
	for n := range 6 {
		group.Add(1)
		go func() {
			defer group.Done()
			checkContent(t, images[n%3], want)
			data(t, images[n%3])
		}()
	}
	group.Wait()
	if held := c.Stats().Bytes; held > 300*kib {
		t.Errorf("%d bytes held", held)
	}
}
