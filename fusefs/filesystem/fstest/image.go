package fstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmsync/fusefs/device"
)

// Run runs a command and returns what it printed.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	command := exec.Command(argv[0], argv[1:]...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// NeedRoot skips a test that makes loop mounts where that is not possible.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop mounts need root")
	}
}

// Make makes a sparse image of size bytes and a filesystem in it: the image's path is
// added to mkfs.
func Make(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	NeedRoot(t)
	path := filepath.Join(t.TempDir(), "image")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	Run(t, append(mkfs, path)...)
	return path
}

// Mount mounts an image, with mount(8)'s options, until the test ends or Unmount is
// called.
func Mount(t testing.TB, image, options string) string {
	t.Helper()
	dir := t.TempDir()
	Run(t, "mount", "-o", "loop,"+options, image, dir)
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// Unmount unmounts what Mount mounted. The image is whole afterwards even where a process
// that cloned the mount namespace meanwhile keeps the mount.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	source := strings.TrimSpace(Run(t, "findmnt", "-n", "-o", "SOURCE", dir))
	backing := filepath.Join("/sys/block", filepath.Base(source), "loop/backing_file")
	image, _ := os.ReadFile(backing)
	// Fails for a filesystem that was shut down, which is as it should be.
	exec.Command("mount", "-o", "remount,ro", dir).Run()
	Run(t, "umount", dir)
	// A clone that is about to end need not disturb the next mount of the image.
	for range 40 {
		if now, err := os.ReadFile(backing); err != nil || string(now) != string(image) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Copy copies an image, sparsely, as it is at this moment; also one that is mounted.
func Copy(t testing.TB, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	Run(t, "cp", "--sparse=always", image, to)
	return to
}

// Open opens an image until the test ends.
func Open(t testing.TB, image string) device.Device {
	t.Helper()
	file, err := device.OpenFile(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}
