package image

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestReadsAsQemuDoes holds every kind of image against what qemu reads and maps.
func TestReadsAsQemuDoes(t *testing.T) {
	for _, test := range []struct {
		name    string
		size    int64
		options string
	}{
		{"clusters of 512 bytes", 512 * kib, "cluster_size=512"},
		{"clusters of 4 KiB", 3 * mib, "cluster_size=4k"},
		{"clusters of 64 KiB", 20 * mib, ""},
		{"clusters of 2 MiB", 50 * mib, "cluster_size=2M"},
		{"version 2", 20 * mib, "compat=0.10"},
		{"version 2 and clusters of 512 bytes", mib, "compat=0.10,cluster_size=512"},
		{"subclusters of 2 KiB", 10 * mib, "extended_l2=on"},
		{"subclusters of 512 bytes", 3 * mib, "extended_l2=on,cluster_size=16k"},
		{"subclusters of 64 KiB", 50 * mib, "extended_l2=on,cluster_size=2M"},
		{"lazy refcounts", 3 * mib, "lazy_refcounts=on"},
		{"a last cluster that is not whole", 3*mib + 512, ""},
		{"a last subcluster that is not whole", 3*mib + 512, "extended_l2=on"},
		{"metadata preallocated", 5 * mib, "preallocation=metadata"},
		{"everything preallocated", 5 * mib, "preallocation=full"},
		{"subclusters preallocated", 5 * mib, "preallocation=metadata,extended_l2=on"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := create(t, t.TempDir(), "a", test.size, test.options)
			check(t, path)
			write(t, path, scatter(1, test.size, 60)...)
			write(t, path, fmt.Sprintf("write -q -P 77 %d 512", test.size-512))
			check(t, path)
		})
	}
}

func TestEmptyDisk(t *testing.T) {
	path := create(t, t.TempDir(), "a", 0, "")
	i := open(t, path, NewCache(mib))
	start, end, err := i.Data(0)
	if i.Size() != 0 || start != 0 || end != 0 || err != nil {
		t.Errorf("%d bytes, data from %d to %d: %v", i.Size(), start, end, err)
	}
}

// half writes a file of which every other 50 KiB are random, and the rest compress well.
func half(t testing.TB, path string, size int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, size)
	for n := range b {
		switch {
		case n%(100*kib) < 50*kib:
			b[n] = byte(rnd.Uint32())
		case n%(1000*kib) < 700*kib:
			b[n] = byte(n / 1000)
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCompressedClusters(t *testing.T) {
	for _, options := range []string{
		"compression_type=zlib",
		"compression_type=zstd",
		"compression_type=zlib,cluster_size=512",
		"compression_type=zstd,cluster_size=4k",
		"compression_type=zlib,cluster_size=2M",
		"compression_type=zstd,cluster_size=2M",
		"compression_type=zlib,extended_l2=on",
		"compression_type=zstd,extended_l2=on",
		"compat=0.10",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			const size = 3*mib + 1024
			dir := t.TempDir()
			raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "a")
			half(t, raw, size)
			runIn(t, dir, "qemu-img", "convert", "-t", "unsafe", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
			check(t, path)
			got, err := os.ReadFile(raw)
			if err != nil || !bytes.Equal(content(t, path), got) {
				t.Fatal("qemu-img converted to something else")
			}
			write(t, path, scatter(2, size, 20)...)
			check(t, path)
			upper := create(t, dir, "b", size, over("a", "qcow2")+",cluster_size=4k")
			write(t, upper, scatter(3, size, 20)...)
			check(t, upper)
		})
	}
}

func TestInternalSnapshotsAreIgnored(t *testing.T) {
	path := create(t, t.TempDir(), "a", 4*mib, "")
	write(t, path, scatter(1, 4*mib, 30)...)
	runIn(t, filepath.Dir(path), "qemu-img", "snapshot", "-c", "first", path)
	write(t, path, scatter(2, 4*mib, 30)...)
	check(t, path)
}

func TestBitmapsAreIgnored(t *testing.T) {
	path := create(t, t.TempDir(), "a", 4*mib, "")
	runIn(t, filepath.Dir(path), "qemu-img", "bitmap", "--add", "-f", "qcow2", path, "a-bitmap")
	write(t, path, scatter(1, 4*mib, 30)...)
	check(t, path)
}
