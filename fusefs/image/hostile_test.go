package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/blockcache"
)

// patch writes a big-endian number of 1, 2, 4 or 8 bytes, or a string, into a file.
func patch(t testing.TB, path string, at int64, value any) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b, isText := value.(string)
	buf := []byte(b)
	if !isText {
		if buf, err = binary.Append(nil, binary.BigEndian, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := file.WriteAt(buf, at); err != nil {
		t.Fatal(err)
	}
}

func number(t testing.TB, path string, at int64) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return int64(binary.BigEndian.Uint64(b[at:]))
}

func TestRefusedHeaders(t *testing.T) {
	for _, test := range []struct {
		name  string
		at    int64
		value any
		want  error
		says  string
	}{
		{"other magic", 0, "QFI\xfa", ErrCorrupt, ""},
		{"version 1", 4, uint32(1), ErrUnsupported, "version 1"},
		{"version 4", 4, uint32(4), ErrUnsupported, "version 4"},
		{"clusters of 256 bytes", 20, uint32(8), ErrCorrupt, ""},
		{"clusters of 4 MiB", 20, uint32(22), ErrCorrupt, ""},
		{"clusters of 2^63", 20, uint32(63), ErrCorrupt, ""},
		{"huge disk", 24, uint64(1 << 62), ErrCorrupt, ""},
		{"negative disk", 24, ^uint64(0), ErrCorrupt, ""},
		{"disk larger than its table", 24, uint64(1 << 40), ErrCorrupt, "L1 table of"},
		{"AES", 32, uint32(1), ErrUnsupported, "encryption"},
		{"LUKS", 32, uint32(2), ErrUnsupported, "encryption"},
		{"empty L1 table", 36, uint32(0), ErrCorrupt, ""},
		{"L1 table beyond the file", 40, uint64(1 << 40), ErrCorrupt, ""},
		{"negative L1 table", 40, uint64(1<<63 | 1<<16), ErrCorrupt, ""},
		{"L1 table between clusters", 40, uint64(3 << 15), ErrCorrupt, ""},
		{"no L1 table", 40, uint64(0), ErrCorrupt, ""},
		{"corrupt", 72, uint64(2), ErrCorrupt, "qemu-img check"},
		{"external data file", 72, uint64(4), ErrUnsupported, "external data"},
		{"feature 5", 72, uint64(32), ErrUnsupported, "feature 5"},
		{"feature 63", 72, uint64(1 << 63), ErrUnsupported, "feature 63"},
		{"compression of no type", 72, uint64(8), ErrCorrupt, ""},
		{"compression that is no feature", 104, byte(1), ErrCorrupt, ""},
		{"header of 8 bytes", 100, uint32(8), ErrCorrupt, ""},
		{"header of 4 GiB", 100, uint32(0xfffffff8), ErrCorrupt, ""},
		{"extension of 4 GiB", 116, uint32(0xffffffff), ErrCorrupt, "extension"},
		{"backing file name beyond the cluster", 8, uint64(1 << 20), ErrCorrupt, ""},
		{"backing file name in the header", 8, uint64(16), ErrCorrupt, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := create(t, t.TempDir(), "a", mib, "")
			patch(t, path, test.at, test.value)
			refused(t, path, test.want, test.says)
		})
	}
	path := create(t, t.TempDir(), "dirty", mib, "")
	patch(t, path, 72, uint64(1))
	open(t, path, NewCache(mib))
}

func refused(t *testing.T, path string, want error, says string) {
	t.Helper()
	c := NewCache(mib)
	_, err := Open(path, c)
	if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %v: %s", err, want, says)
	}
	if n := descriptors(t, filepath.Dir(path)); n != 0 || c.Stats().Bytes != 0 {
		t.Errorf("%d files are left open, %d bytes held", n, c.Stats().Bytes)
	}
}

// TestUnknownFeatureIsNamed takes the name from the image's own table.
func TestUnknownFeatureIsNamed(t *testing.T) {
	path := create(t, t.TempDir(), "a", mib, "")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\x00\x00dirty bit"))
	patch(t, path, int64(at), "\x00\x09time travel\x00")
	patch(t, path, 72, uint64(1<<9))
	refused(t, path, ErrUnsupported, `"time travel"`)
}

func TestBackingFileNames(t *testing.T) {
	dir := t.TempDir()
	create(t, dir, "base", mib, "")
	write(t, filepath.Join(dir, "base"), "write -q -P 5 0 1M")
	outside := create(t, t.TempDir(), "outside", mib, "")
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, format string
		want         error
	}{
		{"base", "qcow2", nil},
		{filepath.Join(dir, "base"), "qcow2", nil},
		{"base", "", ErrUnsupported},
		{"base", "vmdk", ErrUnsupported},
		{outside, "qcow2", ErrUnsupported},
		{"../" + filepath.Base(dir) + "/base", "qcow2", ErrUnsupported},
		{dir + "/../" + filepath.Base(dir) + "/base", "qcow2", ErrUnsupported},
		{"./base", "qcow2", ErrUnsupported},
		{"..", "raw", ErrUnsupported},
		{".", "raw", ErrUnsupported},
		{"json:{}", "qcow2", ErrUnsupported},
		{"nbd:unix:socket", "raw", ErrUnsupported},
		{"link", "qcow2", unix.ELOOP},
		{"pipe", "raw", unix.EINVAL},
		{"missing", "qcow2", fs.ErrNotExist},
		{"base\x00", "qcow2", ErrUnsupported},
	} {
		t.Run(test.name+" "+test.format, func(t *testing.T) {
			path := create(t, dir, "over", mib, "")
			setBacking(t, path, test.name, test.format)
			if test.want != nil {
				refused(t, path, test.want, "")
				return
			}
			var b [1]byte
			if _, err := open(t, path, NewCache(mib)).ReadAt(b[:], 1000); err != nil || b[0] != 5 {
				t.Errorf("reads %d: %v", b[0], err)
			}
		})
	}
}

// setBacking writes a backing file's name and format into an image without one.
func setBacking(t *testing.T, path, name, format string) {
	t.Helper()
	patch(t, path, 8, uint64(1000))
	patch(t, path, 16, uint32(len(name)))
	patch(t, path, 1000, name)
	end := int64(112)
	if format != "" {
		patch(t, path, 112, uint32(extensionBackingFormat))
		patch(t, path, 116, uint32(len(format)))
		patch(t, path, 120, format+strings.Repeat("\x00", 8))
		end = 128
	}
	patch(t, path, end, uint64(0))
}

func TestChainsThatLieOverThemselves(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		create(t, dir, name, mib, "")
	}
	setBacking(t, filepath.Join(dir, "a"), "b", "qcow2")
	setBacking(t, filepath.Join(dir, "b"), "c", "qcow2")
	setBacking(t, filepath.Join(dir, "c"), "b", "raw")
	refused(t, filepath.Join(dir, "a"), ErrCorrupt, "over itself")
	setBacking(t, filepath.Join(dir, "a"), "a", "qcow2")
	refused(t, filepath.Join(dir, "a"), ErrCorrupt, "over itself")
}

// TestDamageStaysWhereItIs breaks one cluster of many, or one table.
func TestDamageStaysWhereItIs(t *testing.T) {
	const clusterSize = 4 * kib
	for _, test := range []struct {
		name    string
		options string
		l1      bool
		second  int64 // 8 where the number goes to an extended entry's bitmap
		value   uint64
	}{
		{"cluster beyond the file", "", false, 0, 1 << 40},
		{"cluster beyond 2^55", "", false, 0, 1<<55 | 1<<40},
		{"cluster between clusters", "", false, 0, 0x10200},
		{"zero flag in version 2", ",compat=0.10", false, 0, 0x10001},
		{"compressed cluster beyond the file", "", false, 0, 1<<62 | 1<<40},
		{"compressed cluster that is none", "", false, 0, 1<<62 | 4096},
		{"table beyond the file", "", true, 0, 1 << 40},
		{"table between clusters", "", true, 0, 0x10200},
		{"table cut off by the file's end", "", true, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := create(t, t.TempDir(), "a", 8*mib, "cluster_size=4k"+test.options)
			write(t, path, "write -q -P 9 0 8M")
			l1 := number(t, path, 40)
			at, first, last := number(t, path, l1)&offsetMask+5*8, int64(5*clusterSize), int64(6*clusterSize)
			if test.l1 {
				at, first, last = l1+8, 512*clusterSize, 1024*clusterSize
			}
			if test.value == 0 {
				file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				end, err := file.Seek(0, 2)
				if err != nil {
					t.Fatal(err)
				}
				end = (end + clusterSize - 1) &^ (clusterSize - 1)
				patch(t, path, end, uint64(0))
				test.value = uint64(end)
			}
			patch(t, path, at, test.value)
			i := open(t, path, NewCache(mib))
			damaged(t, i, first, last)
		})
	}
}

func TestDamagedSubclusters(t *testing.T) {
	for name, bitmap := range map[string]uint64{"allocated and zero": 1<<33 | 2, "allocated nowhere": 4} {
		t.Run(name, func(t *testing.T) {
			const clusterSize = 16 * kib
			path := create(t, t.TempDir(), "a", mib, "cluster_size=16k,extended_l2=on")
			write(t, path, "write -q -P 9 0 1M")
			at := number(t, path, number(t, path, 40))&offsetMask + 5*16
			patch(t, path, at+8, bitmap)
			if bitmap == 4 {
				patch(t, path, at, uint64(0))
			}
			damaged(t, open(t, path, NewCache(mib)), 5*clusterSize, 6*clusterSize)
		})
	}
}

// damaged checks that exactly the bytes from first to last cannot be read.
func damaged(t *testing.T, i *Image, first, last int64) {
	t.Helper()
	b := make([]byte, 512)
	for at := int64(0); at < i.Size(); at += 512 {
		_, err := i.ReadAt(b, at)
		if bad := at >= first && at < last; bad != errors.Is(err, ErrCorrupt) || !bad && (err != nil || b[0] != 9) {
			t.Fatalf("at %d: %d, %v", at, b[0], err)
		}
	}
	if start, end, err := i.Data(first); err != nil || start != first || end < last {
		t.Errorf("Data says %d to %d, %v", start, end, err)
	}
	n, err := i.ReadAt(make([]byte, i.Size()), 0)
	if int64(n) != first || !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d bytes read, %v", n, err)
	}
}

func TestCacheTooSmallForTables(t *testing.T) {
	path := create(t, t.TempDir(), "a", 256*mib, "cluster_size=512")
	write(t, path, "write -q -P 9 0 512", "write -q -P 9 255M 512")
	if _, err := Open(path, NewCache(8*kib)); !errors.Is(err, blockcache.ErrFull) {
		t.Error(err)
	}
	open(t, path, NewCache(9*kib))
}

// TestClustersThatShareCompressedData has two entries lead to one compressed cluster: each
// reads as all of it.
func TestClustersThatShareCompressedData(t *testing.T) {
	dir := t.TempDir()
	raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "a")
	half(t, raw, mib)
	runIn(t, dir, "qemu-img", "convert", "-t", "unsafe", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", raw, path)
	table := number(t, path, number(t, path, 40)) & offsetMask
	for n := int64(16); n < 20; n++ { // of the compressible part
		patch(t, path, table+n*8, uint64(number(t, path, table+15*8)))
	}
	check(t, path)
}
