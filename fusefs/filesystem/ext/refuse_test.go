package ext_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// fromTree makes a filesystem of a directory's files without a mount.
func fromTree(t testing.TB, source, size, mkfs string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	fstest.Run(t, append(append([]string{"mke2fs", "-q", "-F", "-d", source}, strings.Fields(mkfs)...), image, size)...)
	return image
}

func smallTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"file": "content", "Other": strings.Repeat("other", 30_000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "dir", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func debugfs(t testing.TB, image string, commands ...string) {
	t.Helper()
	for _, command := range commands {
		fstest.Run(t, "debugfs", "-w", "-R", command, image)
	}
}

// openError opens an image that cannot be read.
func openError(t *testing.T, image string) error {
	t.Helper()
	_, err := ext.Open(fstest.Open(t, image))
	if err == nil {
		t.Fatal("it was opened")
	}
	return err
}

func TestNoFilesystem(t *testing.T) {
	for _, size := range []int{0, 1, 1024, 2047, 2048, 1 << 20} {
		if _, err := ext.Open(device.OfReaderAt(bytes.NewReader(make([]byte, size)), int64(size))); !errors.Is(err, filesystem.ErrUnknown) {
			t.Errorf("%d zeros: %v", size, err)
		}
	}
}

func TestUnknownFeatureIsNamed(t *testing.T) {
	for feature, name := range map[string]string{"FEATURE_I30": "0x40000000", "dirdata": "dirdata", "journal_dev": "journal_dev"} {
		image := fromTree(t, smallTree(t), "4M", "-t ext4 -O ^has_journal")
		debugfs(t, image, "feature "+feature)
		if err := openError(t, image); !errors.Is(err, filesystem.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", feature, err)
		}
	}
}

// TestEncryptedIsRefused must refuse what is encrypted alone.
func TestEncryptedIsRefused(t *testing.T) {
	image := fromTree(t, smallTree(t), "4M", "-t ext4 -O encrypt,^has_journal")
	debugfs(t, image, "set_inode_field file flags 0x80800", "set_inode_field dir flags 0x80800")
	fsys := open(t, image)
	id := lookup(t, fsys, "file")
	if _, err := fsys.Stat(id); err != nil {
		t.Error(err)
	}
	if _, err := fsys.Open(id); !errors.Is(err, filesystem.ErrUnsupported) || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("open: %v", err)
	}
	dir := lookup(t, fsys, "dir")
	if _, err := fsys.Lookup(dir, "sub"); !errors.Is(err, filesystem.ErrUnsupported) {
		t.Errorf("lookup: %v", err)
	}
	for _, err := range fsys.ReadDir(dir) {
		if !errors.Is(err, filesystem.ErrUnsupported) {
			t.Errorf("readdir: %v", err)
		}
	}
	if b := content(t, fsys, lookup(t, fsys, "Other")); string(b) != strings.Repeat("other", 30_000) {
		t.Error("the other file reads wrongly")
	}
}

func lookup(t testing.TB, fsys filesystem.FS, path string) filesystem.ID {
	t.Helper()
	id := fsys.Root()
	for _, name := range strings.Split(path, "/") {
		var err error
		if id, err = fsys.Lookup(id, name); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

func content(t testing.TB, fsys filesystem.FS, id filesystem.ID) []byte {
	t.Helper()
	file, err := fsys.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, file.Size())
	if _, err := file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKindsOfFiles asks for what a file is not.
func TestKindsOfFiles(t *testing.T) {
	fsys := open(t, fromTree(t, smallTree(t), "4M", "-t ext4"))
	file := lookup(t, fsys, "file")
	_, open := fsys.Open(fsys.Root())
	_, readlink := fsys.Readlink(file)
	_, inFile := fsys.Lookup(file, "x")
	_, missing := fsys.Lookup(fsys.Root(), "x")
	_, journal := fsys.Stat(8)
	_, none := fsys.Stat(1 << 40)
	_, parent := fsys.Lookup(fsys.Root(), "..")
	for _, c := range []struct{ have, want error }{
		{open, filesystem.ErrIsDir}, {readlink, filesystem.ErrInvalid}, {inFile, filesystem.ErrNotDir},
		{missing, filesystem.ErrNotExist}, {parent, filesystem.ErrNotExist}, {journal, filesystem.ErrCorrupt}, {none, filesystem.ErrCorrupt},
	} {
		if !errors.Is(c.have, c.want) {
			t.Errorf("%v, not %v", c.have, c.want)
		}
	}
}

// TestDamageIsFound changes one byte of each kind of metadata that has a checksum.
func TestDamageIsFound(t *testing.T) {
	source := smallTree(t)
	for n := range 400 {
		if err := os.WriteFile(filepath.Join(source, "dir", name(n)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sparse, err := os.Create(filepath.Join(source, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < 1_000_000; at += 20_000 {
		if _, err := sparse.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	sparse.Close()
	clean := fromTree(t, source, "8M", "-t ext4 -b 1024 -O metadata_csum,^has_journal -I 256 -E no_copy_xattrs")
	debugfs(t, clean, "ea_set file user.large "+strings.Repeat("v", 500))
	fstest.Run(t, "e2fsck", "-fyD", clean)
	block := func(of string) int64 { return ask(t, clean, of) << 10 }
	number := func(path string) int64 { return int64(lookup(t, open(t, clean), path)) }
	tables := int64(0)
	fmt.Sscanf(after(fstest.Run(t, "dumpe2fs", clean), "Inode table at "), "%d", &tables)

	for _, c := range []struct {
		name string
		at   int64
		try  func(filesystem.FS) error
	}{
		{"the superblock", 1024 + 0x78, nil},
		{"a group descriptor", 2048 + 0x10, func(f filesystem.FS) error { _, err := f.Stat(f.Root()); return err }},
		{"an inode", tables<<10 + (number("file")-1)*256 + 4, func(f filesystem.FS) error { _, err := f.Stat(lookup(t, f, "file")); return err }},
		{"a directory", block("bmap / 0") + 40, func(f filesystem.FS) error { _, err := f.Lookup(f.Root(), "file"); return err }},
		{"an index", block("bmap dir 0") + 0x30, func(f filesystem.FS) error { _, err := f.Lookup(lookup(t, f, "dir"), name(3)); return err }},
		{"attributes", ask(t, clean, "stat file", "File ACL: ")<<10 + 1000, func(f filesystem.FS) error { _, err := f.Xattrs(lookup(t, f, "file")); return err }},
		{"extents", ask(t, clean, "extents sparse", "1/ ")<<10 + 20, func(f filesystem.FS) error {
			file, err := f.Open(lookup(t, f, "sparse"))
			if err == nil {
				_, err = file.ReadAt(make([]byte, 10), 500_000)
			}
			return err
		}},
	} {
		image := fstest.Copy(t, clean)
		file, err := os.OpenFile(image, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := file.ReadAt(b[:], c.at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := file.WriteAt(b[:], c.at); err != nil {
			t.Fatal(err)
		}
		file.Close()
		fsys, err := ext.Open(fstest.Open(t, image))
		if c.try != nil && err == nil {
			if err := c.try(open(t, clean)); err != nil {
				t.Errorf("%s, undamaged: %v", c.name, err)
			}
			err = c.try(fsys)
		}
		if !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// ask runs a command of debugfs, and returns the number behind words of its answer.
func ask(t testing.TB, image, command string, words ...string) int64 {
	t.Helper()
	out := fstest.Run(t, "debugfs", "-R", command, image)
	_, out, _ = strings.Cut(out, "\n") // the version
	for _, word := range words {
		out = after(out, word)
	}
	var n int64
	if strings.HasPrefix(command, "extents") {
		// Level, number, logical range and physical block: of an index, where its node is.
		fields := strings.Fields(out)
		fmt.Sscanf(fields[6], "%d", &n)
	} else {
		fmt.Sscanf(strings.TrimSpace(out), "%d", &n)
	}
	if n == 0 {
		t.Fatalf("%s: no number in %q", command, out)
	}
	return n
}

func after(s, word string) string {
	_, s, _ = strings.Cut(s, word)
	return s
}
