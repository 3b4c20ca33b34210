package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

func features() fstest.Features {
	return fstest.Features{Unix: true, Xattrs: true, Large: 8 << 20, Entries: 400}
}

func TestReadsWhatTheKernelReads(t *testing.T) {
	for _, test := range []struct {
		name    string
		count   int
		mkfs    []string
		options string
	}{
		{name: "default"},
		{name: "mixed", mkfs: []string{"--mixed"}},
		{name: "nodes of 4 KiB, xxhash", mkfs: []string{"-n", "4096", "--csum", "xxhash"}},
		{name: "nodes of 64 KiB, sha256", mkfs: []string{"-n", "65536", "--csum", "sha256"}},
		{name: "old features", mkfs: []string{"-O", "^no-holes,^extref,^skinny-metadata", "-R", "^free-space-tree"}},
		{name: "without checksums, large inline", options: "nodatasum,max_inline=4095"},
		{name: "zlib", options: "compress-force=zlib"},
		{name: "LZO", options: "compress-force=lzo"},
		{name: "Zstandard, blake2b", mkfs: []string{"--csum", "blake2"}, options: "compress-force=zstd"},
		{name: "compressed where it is worth it", options: "compress=zstd"},
		{name: "dup", mkfs: []string{"-d", "dup", "-m", "dup"}},
		{name: "RAID0", count: 3, mkfs: []string{"-d", "raid0", "-m", "raid0"}},
		{name: "RAID1", count: 2, mkfs: []string{"-d", "raid1", "-m", "raid1"}},
		{name: "RAID10", count: 4, mkfs: []string{"-d", "raid10", "-m", "raid10"}},
		{name: "RAID1C3", count: 3, mkfs: []string{"-d", "raid1c3", "-m", "raid1c3"}},
		{name: "RAID5", count: 3, mkfs: []string{"-d", "raid5", "-m", "raid1"}},
		{name: "RAID6", count: 4, mkfs: []string{"-d", "raid6", "-m", "raid6"}},
		{name: "single over three", count: 3, mkfs: []string{"-d", "single", "-m", "raid1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := makeImages(t, max(1, test.count), 512<<20, append(test.mkfs, "-L", "the label")...)
			dir, unmount := i.mount(t, test.options)
			fstest.Populate(t, dir, 1, features())
			compressible(t, dir)
			unmount()
			i.compare(t, fstest.Ignore{})
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	fsys := manyFiles(t)
	dir := find(t, fsys, "many")
	n := 0
	for entry, err := range fsys.ReadDir(dir) {
		if err != nil || entry.Name != fmt.Sprintf("file-%d", n) || entry.Mode != unix.S_IFREG {
			t.Fatalf("entry %d is %+v, %v", n, entry, err)
		}
		if n%97 == 0 {
			if id, err := fsys.Lookup(dir, entry.Name); err != nil || id != entry.ID {
				t.Fatalf("%s: %d, %v", entry.Name, id, err)
			}
		}
		n++
	}
	if n != manyCount {
		t.Errorf("%d entries", n)
	}
}

func TestLargeSparseFile(t *testing.T) {
	const size = 10<<40 + 12345
	i := makeImages(t, 1, 256<<20)
	dir, unmount := i.mount(t, "")
	file, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	marks := []int64{0, size / 3, size - 10}
	for _, off := range marks {
		if _, err := file.WriteAt([]byte("0123456789"), off); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	unmount()
	fsys := i.open(t)
	sparse, err := fsys.Open(find(t, fsys, "sparse"))
	if err != nil || sparse.Size() != size {
		t.Fatalf("%d bytes, %v", sparse.Size(), err)
	}
	for _, off := range marks {
		b := make([]byte, 30)
		if n, err := sparse.ReadAt(b[:10], off); n != 10 || err != nil || string(b[:10]) != "0123456789" {
			t.Errorf("at %d: %q, %v", off, b, err)
		}
		if start, end, err := sparse.Data(max(0, off-9000)); err != nil || start > off || end < off+10 || end-start > 8192 {
			t.Errorf("data at %d: %d to %d, %v", off, start, end, err)
		}
	}
	if start, end, err := sparse.Data(8192); err != nil || start != size/3/4096*4096 || end != start+4096 {
		t.Errorf("the second piece: %d to %d, %v", start, end, err)
	}
}

// The kernel also takes off what it sets aside for its own metadata.
func TestInfoIsLikeStatfs(t *testing.T) {
	for _, profile := range []string{"single", "raid1"} {
		t.Run(profile, func(t *testing.T) {
			i := makeImages(t, 2, 512<<20, "-L", "the label", "-d", profile, "-m", "raid1")
			dir, unmount := i.mount(t, "")
			compressible(t, dir)
			unmount()
			info := i.open(t).Info()
			dir, _ = i.mount(t, "ro")
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			if info.BlockSize != st.Bsize || info.Blocks != st.Blocks || info.NameMax != uint32(st.Namelen) || info.Label != "the label" {
				t.Errorf("%+v, the kernel says %+v", info, st)
			}
			if reserve := int64(info.Free-st.Bfree) * st.Bsize; reserve < 0 || reserve > 8<<20 {
				t.Errorf("%d blocks are free, the kernel says %d", info.Free, st.Bfree)
			}
		})
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	i := makeImages(t, 1, 256<<20)
	dir, unmount := i.mount(t, "compress-force=zlib")
	compressible(t, dir)
	subvolumes(t, dir)
	unmount()
	fsys := i.open(t)
	alone := fstest.ListFS(t, fsys, fstest.Ignore{})
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			if diff := cmp.Diff(alone, fstest.ListFS(t, fsys, fstest.Ignore{})); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// A tree of real files, as programs install them.
func TestRealFiles(t *testing.T) {
	i := makeImages(t, 1, 512<<20)
	dir, unmount := i.mount(t, "compress=lzo")
	fstest.Run(t, "cp", "-a", "/etc", "/usr/share/zoneinfo", dir)
	unmount()
	i.compare(t, fstest.Ignore{})
}

func TestChangedUUID(t *testing.T) {
	i := marked(t, 1)
	fstest.Run(t, "btrfstune", "-f", "-m", i[0])
	uuid := strings.TrimSpace(fstest.Run(t, "blkid", "-p", "-o", "value", "-s", "UUID", i[0]))
	if got := i.open(t).Info().UUID; got != uuid {
		t.Errorf("%s instead of %s", got, uuid)
	}
	i.compare(t, fstest.Ignore{})
}

func TestUnknownFeaturesAreRefused(t *testing.T) {
	image := loadSparse(t, marked(t, 1)[0])
	for bit, name := range map[int]string{12: "zoned", 13: "extent-tree-v2", 14: "raid-stripe-tree", 40: "0x10000000000"} {
		page := bytes.Clone(image.pages[superOffsets[0]])
		page[0xbc+bit/8] |= 1 << (bit % 8)
		_, err := open([]device.Device{&edited{image, map[int64][]byte{superOffsets[0]: page}}}, unchecked)
		if !errors.Is(err, filesystem.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShortDevice(t *testing.T) {
	i := marked(t, 1, "-m", "single")
	d := i.devices(t)[0]
	short, err := device.Section(d, 0, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := Open(short)
	if err == nil {
		_, err = contents(t, fsys, "first")
	}
	if err != nil && !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	none, err := device.Section(d, 0, 69000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(none); !errors.Is(err, filesystem.ErrUnknown) {
		t.Errorf("%v", err)
	}
}
