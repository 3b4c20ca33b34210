package fusefs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPointMustBeAnEmptyFolderElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"store/inside", "full/x", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("store", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	quiet := func(string) {}
	for name, want := range map[string]string{
		"none": "does not exist", "file": "is not a folder", "full": `is not empty: it holds "x"`, "store": "lies in the store", "store/inside": "lies in the store", "link/inside": "lies in the store",
	} {
		_, err := prepare(filepath.Join(dir, name), filepath.Join(dir, "store"), quiet)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want: %s", name, err, want)
		}
	}
	if _, err := prepare(filepath.Join(dir, "empty"), filepath.Join(dir, "empty", "later", "store"), quiet); err == nil || !strings.Contains(err.Error(), "would lie in the mount point") {
		t.Error(err)
	}
	if path, err := prepare(filepath.Join(dir, "empty"), filepath.Join(dir, "store"), quiet); err != nil || filepath.Base(path) != "empty" {
		t.Errorf("%s, %v", path, err)
	}
}

func TestMountedTwiceIsRefused(t *testing.T) {
	s := mountStore(t, nil)
	_, err := New(s.root, Options{Store: s.Store})
	if err == nil || !strings.Contains(err.Error(), "vmsync umount "+s.root) {
		t.Error(err)
	}
}

func TestUnmountTouchesNothingElse(t *testing.T) {
	needFuse(t)
	dir := t.TempDir()
	if err := Unmount(dir, false); err == nil || !strings.Contains(err.Error(), "nothing is mounted") {
		t.Error(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	for _, lazy := range []bool{false, true} {
		if err := Unmount(dir, lazy); err == nil || !strings.Contains(err.Error(), "tmpfs, not vmsync's") {
			t.Error(err)
		}
	}
}

func TestUnmount(t *testing.T) {
	s := mountStore(t, nil)
	f, err := os.Open(filepath.Join(s.dir(0), "disks", "vda.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Unmount(s.root, false); !errors.Is(err, errBusy) {
		t.Errorf("unmounting what is in use: %v", err)
	}
	if err := Unmount(s.root, true); err != nil {
		t.Fatal(err)
	}
	wantNames(t, s.root)
	if _, err := f.ReadAt(make([]byte, 512), diskSize-512); err != nil {
		t.Errorf("reading on: %v", err)
	}
	f.Close()
	s.mount.Wait()
	if n := len(s.held(t)); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}
