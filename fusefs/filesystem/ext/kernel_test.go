package ext_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// variants are the ways to make a filesystem that change how it is read.
var variants = []struct {
	name    string
	kind    string
	mkfs    string
	mount   string
	later   string // tune2fs's options, once it is filled
	entries int
	large   int64
	size    int64 // MiB; 0 for 96
}{
	{name: "ext2 of 1 KiB", kind: "ext2", mkfs: "-t ext2 -b 1024", large: 1 << 30, entries: 300},
	{name: "ext2 of 4 KiB", kind: "ext2", mkfs: "-t ext2 -b 4096", large: 10 << 30, entries: 300},
	{name: "ext2 without filetype", kind: "ext2", mkfs: "-t ext2 -O ^filetype", entries: 100},
	{name: "ext2 without index", kind: "ext2", mkfs: "-t ext2 -O ^dir_index,^sparse_super,^large_file,^resize_inode", entries: 2000},
	{name: "ext2 of revision 0", kind: "ext2", mkfs: "-t ext2 -r 0 -O none -I 128", entries: 100},
	{name: "ext3", kind: "ext3", mkfs: "-t ext3 -b 1024", large: 3 << 30, entries: 3000},
	{name: "ext3 of 4 KiB and 128 byte inodes", kind: "ext3", mkfs: "-t ext3 -b 4096 -I 128", entries: 3000},
	{name: "ext4", kind: "ext4", mkfs: "-t ext4", large: 10 << 30, entries: 3000},
	{name: "ext4 of 1 KiB", kind: "ext4", mkfs: "-t ext4 -b 1024", large: 10 << 30, entries: 3000},
	{name: "ext4 of 2 KiB and 512 byte inodes", kind: "ext4", mkfs: "-t ext4 -b 2048 -I 512", entries: 1000},
	{name: "no extents", kind: "ext4", mkfs: "-t ext4 -O ^extents,^64bit -b 1024", large: 1 << 30, entries: 100},
	{name: "inline data", kind: "ext4", mkfs: "-t ext4 -O inline_data -I 256", entries: 100},
	{name: "inline data in large inodes", kind: "ext4", mkfs: "-t ext4 -O inline_data,ea_inode -I 1024", entries: 100},
	{name: "no checksums", kind: "ext4", mkfs: "-t ext4 -O ^metadata_csum,^uninit_bg", entries: 100},
	{name: "old checksums", kind: "ext4", mkfs: "-t ext4 -O ^metadata_csum,uninit_bg", entries: 100},
	{name: "old checksums, 32 bit", kind: "ext4", mkfs: "-t ext4 -O ^metadata_csum,uninit_bg,^64bit", entries: 100},
	{name: "checksum seed", kind: "ext4", mkfs: "-t ext4 -O metadata_csum_seed", entries: 100},
	{name: "bigalloc", kind: "ext4", mkfs: "-t ext4 -O bigalloc -C 65536", entries: 100, size: 512},
	{name: "bigalloc of 1 KiB", kind: "ext4", mkfs: "-t ext4 -O bigalloc -b 1024 -C 16384", entries: 100, size: 256},
	{name: "attributes in inodes", kind: "ext4", mkfs: "-t ext4 -O ea_inode", entries: 100},
	{name: "large directories", kind: "ext4", mkfs: "-t ext4 -O large_dir -b 1024", entries: 1000},
	{name: "meta block groups", kind: "ext4", mkfs: "-t ext4 -O meta_bg,^resize_inode -b 1024 -g 1024", entries: 100},
	{name: "meta block groups, 32 bit", kind: "ext4", mkfs: "-t ext4 -O meta_bg,^resize_inode,^64bit,^flex_bg -b 1024 -g 512", entries: 100},
	{name: "not 64 bit", kind: "ext4", mkfs: "-t ext4 -O ^64bit", entries: 100},
	{name: "no huge files", kind: "ext4", mkfs: "-t ext4 -O ^huge_file,^extra_isize,^dir_nlink", entries: 100},
	{name: "two backups", kind: "ext4", mkfs: "-t ext4 -O sparse_super2 -b 1024", entries: 100},
	{name: "quota", kind: "ext4", mkfs: "-t ext4", later: "-O quota,project -Q usrquota,grpquota,prjquota", entries: 100},
	{name: "no flexible groups", kind: "ext4", mkfs: "-t ext4 -O ^flex_bg -b 1024", entries: 100},
	{name: "orphan file", kind: "ext4", mkfs: "-t ext4 -O orphan_file", entries: 100},
	{name: "multiple mount protection", kind: "ext4", mkfs: "-t ext4 -O mmp", entries: 10},
	{name: "encrypt and verity", kind: "ext4", mkfs: "-t ext4 -O encrypt,verity", mount: "ro", entries: 10},
	{name: "data in the journal", kind: "ext4", mkfs: "-t ext4", mount: "data=journal", entries: 100},
}

// TestLikeTheKernel fills filesystems of all variants and holds what this package shows
// against what the kernel shows.
func TestLikeTheKernel(t *testing.T) {
	fstest.NeedRoot(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			image := makeImage(t, v.size, v.mkfs)
			if v.mount != "ro" {
				mount := fstest.Mount(t, image, v.mount)
				fstest.Populate(t, mount, 1, fstest.Features{Unix: true, Xattrs: true, Large: v.large, Entries: v.entries})
				fstest.Unmount(t, mount)
			}
			if v.later != "" {
				fstest.Run(t, append(append([]string{"tune2fs"}, strings.Fields(v.later)...), image)...)
			}
			fsys := open(t, image)
			mount := fstest.Mount(t, image, "ro")
			fstest.Compare(t, fsys, mount, fstest.Ignore{})
			checkInfo(t, fsys.Info(), v.kind, image, mount)
		})
	}
}

func makeImage(t testing.TB, mebibytes int64, mkfs string) string {
	t.Helper()
	if mebibytes == 0 {
		mebibytes = 96
	}
	command := append([]string{"mke2fs", "-q", "-F", "-L", "a label"}, strings.Fields(mkfs)...)
	return fstest.Make(t, mebibytes<<20, command...)
}

func open(t testing.TB, image string) filesystem.FS {
	t.Helper()
	fsys, err := ext.Open(fstest.Open(t, image))
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// checkInfo holds Info against statfs(2) and blkid.
func checkInfo(t *testing.T, info filesystem.Info, kind, image, mount string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(mount, &st); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d bytes: %d blocks, %d free; %d files, %d free; names of %d", st.Bsize, st.Blocks, st.Bfree, st.Files, st.Ffree, st.Namelen)
	have := fmt.Sprintf("%d bytes: %d blocks, %d free; %d files, %d free; names of %d", info.BlockSize, info.Blocks, info.Free, info.Files, info.FilesFree, info.NameMax)
	if have != want {
		t.Errorf("info says %s; statfs %s", have, want)
	}
	id := strings.TrimSpace(fstest.Run(t, "blkid", "-p", "-o", "value", "-s", "UUID", image))
	if info.Type != kind || info.Label != "a label" || info.UUID != id {
		t.Errorf("info says %s %q %s; it is %s %s", info.Type, info.Label, info.UUID, kind, id)
	}
	if found := strings.TrimSpace(fstest.Run(t, "blkid", "-p", "-o", "value", "-s", "TYPE", image)); found != kind {
		t.Errorf("blkid says %s, not %s", found, kind)
	}
}

// TestOverheadCounted makes the kernel count what mke2fs has not noted.
func TestOverheadCounted(t *testing.T) {
	fstest.NeedRoot(t)
	for _, mkfs := range []string{"-t ext2 -b 1024", "-t ext3", "-t ext4", "-t ext4 -O meta_bg,^resize_inode -b 1024 -g 1024", "-t ext4 -O sparse_super2"} {
		image := makeImage(t, 0, mkfs)
		fstest.Run(t, "debugfs", "-w", "-R", "set_super_value overhead_clusters 0", image)
		fsys := open(t, image)
		checkInfo(t, fsys.Info(), fsys.Info().Type, image, fstest.Mount(t, image, "ro"))
	}
}

// TestMain keeps images in memory where it can: most of the time would be for syncing.
func TestMain(m *testing.M) {
	if dir := "/dev/shm"; os.Getenv("TMPDIR") == "" && unix.Access(dir, unix.W_OK) == nil {
		os.Setenv("TMPDIR", dir)
	}
	os.Exit(m.Run())
}
