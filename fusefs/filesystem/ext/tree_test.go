package ext_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

// TestNotMountedHere reads what not every kernel mounts: large blocks, and names that
// ignore case. mke2fs fills them with the files of a directory, which are the truth.
func TestNotMountedHere(t *testing.T) {
	source := smallTree(t)
	for n := range 300 {
		if err := os.WriteFile(filepath.Join(source, "dir", name(n)), bytes.Repeat([]byte{byte(n)}, 11*n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, mkfs := range []string{
		"-t ext4 -b 8192", "-t ext4 -b 16384 -O inline_data", "-t ext4 -b 65536", "-t ext2 -b 65536",
		"-t ext4 -O casefold -E encoding=utf8",
	} {
		t.Run(mkfs, func(t *testing.T) {
			image := fromTree(t, source, "80M", mkfs+" -N 4096")
			fstest.Run(t, "debugfs", "-w", "-R", "ea_set file user.name value", image)
			if strings.Contains(mkfs, "casefold") {
				debugfs(t, image, "set_inode_field dir flags 0x40080000")
				fstest.Run(t, "sh", "-c", "e2fsck -fyD "+image+"; test $? -le 1") // makes an index
			}
			fsys := open(t, image)
			truth := fstest.ListMount(t, source, fstest.Ignore{})
			have := fstest.ListFS(t, fsys, fstest.Ignore{Paths: []string{"lost+found"}})
			if len(truth) != len(have) {
				t.Errorf("%d files, not %d", len(have), len(truth))
			}
			for path := range truth {
				info, err := os.Stat(filepath.Join(source, path))
				if err != nil {
					t.Fatal(err)
				}
				id := fsys.Root()
				if path != "." {
					id = lookup(t, fsys, path)
				}
				attr, err := fsys.Stat(id)
				if err != nil || (path != "." && attr.Mtime.Unix() != info.ModTime().Unix()) {
					t.Fatalf("%s: %v, not %v; %v", path, attr.Mtime, info.ModTime(), err)
				}
				if info.IsDir() {
					continue
				}
				want, err := os.ReadFile(filepath.Join(source, path))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(content(t, fsys, id), want) {
					t.Fatalf("%s reads wrongly", path)
				}
			}
			if xattrs, err := fsys.Xattrs(lookup(t, fsys, "file")); err != nil || string(xattrs["user.name"]) != "value" {
				t.Errorf("attributes: %q, %v", xattrs, err)
			}
		})
	}
}

// TestSystemTree compares a part of a real system.
func TestSystemTree(t *testing.T) {
	fstest.NeedRoot(t)
	image := makeImage(t, 400, "-t ext4")
	mount := fstest.Mount(t, image, "")
	for _, dir := range []string{"/etc", "/usr/share/zoneinfo", "/usr/share/perl", "/usr/share/bash-completion", "/usr/lib/systemd"} {
		if _, err := os.Stat(dir); err == nil {
			fstest.Run(t, "cp", "-a", dir, mount)
		}
	}
	fstest.Unmount(t, mount)
	fsys := open(t, image)
	fstest.Compare(t, fsys, fstest.Mount(t, image, "ro"), fstest.Ignore{})
}
