package qemu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func qemuIO(t *testing.T, image string, commands ...string) {
	t.Helper()
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.CommandContext(t.Context(), "qemu-io", append(args, image)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io %v: %v\n%s", commands, err, out)
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// chain makes base with 8 MiB of data, and an overlay that zeroes half of it and
// changes a bit of the rest.
func chain(t *testing.T) (base, overlay string) {
	t.Helper()
	dir := t.TempDir()
	base, overlay = filepath.Join(dir, "a name with spaces.1.qcow2"), filepath.Join(dir, "a name with spaces.2.qcow2")
	if err := Create(t.Context(), base, 64<<20); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, base, "write -P 1 0 8M")
	if err := CreateOverlay(t.Context(), overlay, filepath.Base(base), 64<<20); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, overlay, "write -z 0 4M", "write -P 2 6M 64k")
	return base, overlay
}

func TestCommitMergesAndFreesZeroes(t *testing.T) {
	base, overlay := chain(t)
	before := allocated(t, base)
	want := []string{"read -P 0 0 4M", "read -P 1 4M 2M", "read -P 2 6M 64k", "read -P 0 8M 56M"}
	for range 2 { // a merge that is repeated after a crash does no harm
		if err := Commit(t.Context(), overlay); err != nil {
			t.Fatal(err)
		}
		qemuIO(t, base, want...)
		qemuIO(t, overlay, want...)
	}
	// The file system may take a block of its own to note where the file has holes now.
	if freed := before - allocated(t, base); freed < 4<<20-64<<10 {
		t.Errorf("freed %d bytes of 4 MiB", freed)
	}
}

func TestImageInUseIsRecognised(t *testing.T) {
	base, overlay := chain(t)
	s, err := Serve(t.Context(), t.Context(), Export{Image: base, Socket: filepath.Join(t.TempDir(), "s"), Name: "x", Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := Commit(t.Context(), overlay); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := Commit(t.Context(), overlay); err != nil {
		t.Error(err)
	}
}

func TestFullFileSystemIsRecognised(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	base, overlay := filepath.Join(dir, "base"), filepath.Join(t.TempDir(), "overlay")
	if err := Create(t.Context(), base, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := CreateOverlay(t.Context(), overlay, base, 64<<20); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, overlay, "write -P 1 0 16M")
	if err := Commit(t.Context(), overlay); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	qemuIO(t, overlay, "read -P 1 0 16M")
}

func TestDamagedImageIsRecognised(t *testing.T) {
	base, _ := chain(t)
	if err := Check(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The refcount table's first entry leads to the first refcount block. Without
	// references every cluster in use is a corruption.
	if _, err := f.WriteAt(make([]byte, 64<<10), 2<<16); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), base); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	_, err := Serve(t.Context(), t.Context(), Export{Image: "/nonexistent/vda.qcow2", Socket: filepath.Join(t.TempDir(), "s"), Name: "x", Clients: 1})
	if err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("got %v", err)
	}
}
