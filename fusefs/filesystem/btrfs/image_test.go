package btrfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// images are the members of one filesystem.
type images []string

// makeImages makes sparse images and one filesystem over all of them.
func makeImages(t testing.TB, count int, size int64, mkfs ...string) images {
	t.Helper()
	fstest.NeedRoot(t)
	dir := t.TempDir()
	var paths images
	for i := range count {
		path := filepath.Join(dir, fmt.Sprintf("image-%d", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	fstest.Run(t, append(append([]string{"mkfs.btrfs", "-q", "-f"}, mkfs...), paths...)...)
	return paths
}

// mount mounts the filesystem until the test ends or the returned function is called.
func (i images) mount(t testing.TB, options string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	var loops []string
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		exec.Command("umount", dir).Run()
		for _, loop := range loops {
			exec.Command("losetup", "-d", loop).Run()
		}
		exec.Command("btrfs", "device", "scan", "--forget").Run()
	}
	for _, path := range i {
		loops = append(loops, strings.TrimSpace(fstest.Run(t, "losetup", "-f", "--show", path)))
	}
	for _, loop := range loops {
		options += ",device=" + loop
	}
	t.Cleanup(unmount)
	argv := []string{"-t", "btrfs", "-o", strings.TrimPrefix(options, ","), loops[0], dir}
	// The kernel may still know a loop device as what it was before.
	for range 3 {
		if exec.Command("mount", argv...).Run() == nil {
			return dir, unmount
		}
		exec.Command("btrfs", "device", "scan", "--forget").Run()
	}
	fstest.Run(t, append([]string{"mount"}, argv...)...)
	return dir, unmount
}

// devices opens the images.
func (i images) devices(t testing.TB) []device.Device {
	t.Helper()
	var devices []device.Device
	for _, path := range i {
		devices = append(devices, fstest.Open(t, path))
	}
	return devices
}

func (i images) open(t testing.TB) filesystem.FS {
	t.Helper()
	fsys, err := Open(i.devices(t)...)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// copies copies the images as they are.
func (i images) copies(t testing.TB) images {
	t.Helper()
	var copies images
	for _, path := range i {
		copies = append(copies, fstest.Copy(t, path))
	}
	return copies
}

// compare holds the reader against the kernel's mount.
func (i images) compare(t testing.TB, ignore fstest.Ignore) {
	t.Helper()
	fsys := i.open(t)
	dir, unmount := i.mount(t, "ro,noatime")
	defer unmount()
	fstest.Compare(t, fsys, dir, ignore)
}
