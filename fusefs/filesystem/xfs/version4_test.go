package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// TestReadsWhatMkfsWrites is for what today's kernels do not mount any more: mkfs.xfs can
// fill a filesystem by itself, from a list of files.
func TestReadsWhatMkfsWrites(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"version 4":                       {"-m", "crc=0"},
		"version 4, no types":             {"-m", "crc=0", "-n", "ftype=0"},
		"version 4, attributes 1":         {"-m", "crc=0", "-i", "attr=1,projid32bit=0"},
		"version 4, blocks of 512":        {"-m", "crc=0", "-b", "size=512", "-i", "size=256"},
		"version 4, directories of 32k":   {"-m", "crc=0", "-n", "size=32768"},
		"version 4, log 1, no lazy count": {"-m", "crc=0", "-l", "version=1,lazy-count=0"},
		"version 4, case":                 {"-m", "crc=0", "-n", "version=ci"},
		"version 5, case":                 {"-n", "version=ci", "-i", "size=2048"},
		"version 5":                       {"-n", "size=16384", "-i", "size=2048"},
	} {
		t.Run(name, func(t *testing.T) {
			fromList(t, strings.HasSuffix(name, "case"), mkfs)
		})
	}
}

// fromList makes a filesystem of a list, and checks what is read of it.
func fromList(t *testing.T, anyCase bool, mkfs []string) {
	t.Helper()
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 40000)
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "large"), content, 0o644))
	var list strings.Builder
	fmt.Fprintf(&list, "/dev/null\n0 0\nd--755 0 0\n")
	fmt.Fprintf(&list, "Large ---640 70000 80000 %s/large\nnull c--666 0 0 1 3\nfifo p--600 0 0\n", dir)
	short, long := strings.Repeat("s", 20), strings.Repeat("l", 900)
	fmt.Fprintf(&list, "short l--777 0 0 %s\nlong l--777 0 0 %s\n", short, long)
	sizes := []int{3, 12, 60, 250, 2500}
	for _, n := range sizes {
		fmt.Fprintf(&list, "dir%d d--755 0 0\n", n)
		for i := range n {
			fmt.Fprintf(&list, "Name-%d ---644 0 0 %s/empty\n", i, dir)
		}
		fmt.Fprintf(&list, "$\n")
	}
	fmt.Fprintf(&list, "$\n")
	must(t, os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o644))
	image := fstest.Make(t, imageSize, append([]string{"mkfs.xfs", "-q", "-p", filepath.Join(dir, "list")}, mkfs...)...)
	setAttributes(t, image, mustLookup(t, mustOpen(t, image), "fifo"))
	fsys := mustOpen(t, image)

	large := mustLookup(t, fsys, "Large")
	attr, err := fsys.Stat(large)
	if err != nil || attr.Mode != unix.S_IFREG|0o640 || attr.UID != 70000 || attr.GID != 80000 || attr.Size != int64(len(content)) || attr.Links != 1 {
		t.Errorf("stat: %+v, %v", attr, err)
	}
	file, err := fsys.Open(large)
	must(t, err)
	got := make([]byte, len(content))
	if _, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("other content than was written: %v", err)
	}
	if attr, err := fsys.Stat(mustLookup(t, fsys, "null")); err != nil || attr.Mode != unix.S_IFCHR|0o666 || attr.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("stat of a device: %+v, %v", attr, err)
	}
	for name, target := range map[string]string{"short": short, "long": long} {
		if got, err := fsys.Readlink(mustLookup(t, fsys, name)); err != nil || got != target {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, n := range sizes {
		checkNames(t, fsys, mustLookup(t, fsys, fmt.Sprintf("dir%d", n)), n, anyCase)
	}
	xattrs, err := fsys.Xattrs(mustLookup(t, fsys, "fifo"))
	if err != nil || len(xattrs) != 42 || len(xattrs["trusted.root"]) != 200 || len(xattrs["user.long"]) != 9000 {
		t.Errorf("%d attributes, %v", len(xattrs), err)
	}
}

// setAttributes sets attributes of an inode, of all sizes.
func setAttributes(t *testing.T, image string, id filesystem.ID) {
	t.Helper()
	argv := []string{"-x", "-c", "inode " + strconv.FormatUint(uint64(id), 10),
		"-c", "attr_set -r -v 200 root", "-c", "attr_set -u -v 9000 long"}
	for i := range 40 {
		argv = append(argv, "-c", fmt.Sprintf("attr_set -u -v %d name-%d", i*5+1, i))
	}
	if out, err := exec.Command("xfs_db", append(argv, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func mustLookup(t testing.TB, fsys filesystem.FS, name string) filesystem.ID {
	t.Helper()
	id, err := fsys.Lookup(fsys.Root(), name)
	must(t, err)
	return id
}

// checkNames looks for Name-0 to Name-(n-1) in a directory.
func checkNames(t *testing.T, fsys filesystem.FS, dir filesystem.ID, n int, anyCase bool) {
	t.Helper()
	seen := map[string]filesystem.ID{}
	for entry, err := range fsys.ReadDir(dir) {
		must(t, err)
		seen[entry.Name] = entry.ID
	}
	if len(seen) != n {
		t.Errorf("%d entries of %d", len(seen), n)
	}
	for i := range n {
		name := fmt.Sprintf("Name-%d", i)
		id, err := fsys.Lookup(dir, name)
		if err != nil || id != seen[name] || id == 0 {
			t.Fatalf("%s is inode %d, %v; the directory says %d", name, id, err, seen[name])
		}
		id, err = fsys.Lookup(dir, strings.ToUpper(name))
		if anyCase && (err != nil || id != seen[name]) || !anyCase && !errors.Is(err, filesystem.ErrNotExist) {
			t.Fatalf("%s is inode %d, %v", strings.ToUpper(name), id, err)
		}
	}
}
