package xfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// imageSize is more than the 300 MiB that mkfs.xfs asks for; images are sparse.
const imageSize = 1 << 30

func mustOpen(t testing.TB, image string) filesystem.FS {
	t.Helper()
	fsys, err := Open(fstest.Open(t, image))
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatTheKernelReads(t *testing.T) {
	features := fstest.Features{Unix: true, Xattrs: true, Large: 8 << 20, Entries: 1500}
	for name, mkfs := range map[string][]string{
		"default":                      nil,
		"old times, dense inodes":      {"-m", "reflink=0,bigtime=0", "-i", "sparse=0"},
		"owners of blocks, groups":     {"-m", "rmapbt=1", "-d", "agcount=9"},
		"no free inode tree, few":      {"-m", "finobt=0,inobtcount=0,reflink=0", "-i", "maxpct=5", "-L", "a label"},
		"inodes of 1024, large counts": {"-i", "size=1024,nrext64=1"},
		"blocks of 1024":               {"-b", "size=1024"},
		"blocks of 8192, inodes":       {"-b", "size=8192", "-i", "size=2048"},
		"blocks of 65536":              {"-b", "size=65536"},
		"directories of 64k":           {"-n", "size=65536"},
		"sectors, directories of 8k":   {"-s", "size=4096", "-n", "size=8192"},
	} {
		t.Run(name, func(t *testing.T) {
			image := fstest.Make(t, imageSize, append([]string{"mkfs.xfs", "-q"}, mkfs...)...)
			dir := fstest.Mount(t, image, "")
			fstest.Populate(t, dir, 1, features)
			shapes(t, dir)
			fstest.Unmount(t, dir)
			compare(t, mustOpen(t, image), image)
		})
	}
}

// compare holds a reader against a mount of image.
func compare(t *testing.T, fsys filesystem.FS, image string) {
	t.Helper()
	dir := fstest.Mount(t, image, "ro,nouuid")
	defer fstest.Unmount(t, dir)
	fstest.Compare(t, fsys, dir, fstest.Ignore{})
	compareInfo(t, fsys.Info(), image, dir)
}

// compareInfo holds Info against statfs(2) and blkid.
func compareInfo(t *testing.T, info filesystem.Info, image, dir string) {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	kernel := fmt.Sprint(st.Bsize, st.Blocks, st.Bfree, st.Files, st.Ffree, st.Namelen)
	ours := fmt.Sprint(info.BlockSize, info.Blocks, info.Free, info.Files, info.FilesFree, info.NameMax)
	if kernel != ours {
		t.Errorf("statfs: %s; the kernel says %s", ours, kernel)
	}
	for tag, value := range map[string]string{"UUID": info.UUID, "LABEL": info.Label, "TYPE": info.Type} {
		out, _ := exec.Command("blkid", "-p", "-o", "value", "-s", tag, image).Output()
		if got := strings.TrimSuffix(string(out), "\n"); got != value {
			t.Errorf("%s is %q; blkid says %q", tag, value, got)
		}
	}
}

// shapes makes what XFS has and Populate does not: trees of extents, shared extents,
// directories of every form, attributes in several blocks.
func shapes(t *testing.T, dir string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(path("shapes"), 0o755))
	file, err := os.Create(path("shapes/fragmented"))
	must(t, err)
	defer file.Close()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	pieces := min(2400, 32<<20/st.Bsize)
	content := make([]byte, pieces*st.Bsize)
	for i := range content {
		content[i] = byte(i ^ i>>10)
	}
	_, err = file.Write(content)
	must(t, err)
	for n := int64(0); n < pieces; n += 2 {
		must(t, unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, n*st.Bsize, st.Bsize))
	}
	for _, n := range []int{0, 1, 5, 10, 30, 60, 100, 150, 200, 300, 500, 900, 1500} {
		sub := path(fmt.Sprintf("shapes/dir-%d", n))
		must(t, os.Mkdir(sub, 0o755))
		for i := range n {
			must(t, os.Symlink("x", filepath.Join(sub, fmt.Sprintf("an entry with a name %d", i))))
		}
	}
	must(t, os.WriteFile(path("shapes/attributed"), nil, 0o644))
	for n := range 900 {
		value := []byte(strings.Repeat("v", n%251))
		must(t, unix.Setxattr(path("shapes/attributed"), fmt.Sprintf("user.attribute-%d", n), value, 0))
	}
	for n := range 30 {
		value := []byte(strings.Repeat("w", n*n*50))
		must(t, unix.Setxattr(path("shapes/attributed"), fmt.Sprintf("trusted.attribute-%d", n), value, 0))
	}
	// Fails where the filesystem has no shared extents, which is fine.
	exec.Command("cp", "--reflink=always", path("shapes/fragmented"), path("shapes/shared")).Run()
}
