package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lock(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := Lock(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Unlock() })
	return f
}

func TestOnlyOneRunHoldsAFolder(t *testing.T) {
	dir := t.TempDir()
	f := lock(t, dir)
	if _, err := Lock(dir, "vm1"); !errors.Is(err, ErrBusy) {
		t.Fatalf("second lock: %v", err)
	}
	other, err := Lock(dir, "vm2")
	if err != nil {
		t.Fatalf("another domain: %v", err)
	}
	other.Unlock()
	f.Unlock()
	lock(t, dir)
}

func TestFolderNamesCannotEscapeTheStore(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "../x", "x\x00", "a\nb"} {
		if _, err := Lock(t.TempDir(), name); err == nil {
			t.Errorf("%q accepted", name)
		}
	}
}

func TestSavedManifestIsLoaded(t *testing.T) {
	f := lock(t, t.TempDir())
	if _, err := f.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("empty folder: %v", err)
	}
	m, err := f.Create("vm1")
	if err != nil {
		t.Fatal(err)
	}
	m.LastGeneration = 3
	if err := f.Save(m); err != nil {
		t.Fatal(err)
	}
	got, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
}

func TestFailedSaveLeavesTheOldManifest(t *testing.T) {
	f := lock(t, t.TempDir())
	m, err := f.Create("vm1")
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(f.Path(ManifestName))
	bad := *m
	bad.Pair = "not hex"
	if err := f.Save(&bad); err == nil {
		t.Fatal("saved")
	}
	after, _ := os.ReadFile(f.Path(ManifestName))
	if string(before) != string(after) {
		t.Errorf("manifest changed to %s", after)
	}
}

func TestLostManifestIsNotTakenForAnEmptyFolder(t *testing.T) {
	f := lock(t, t.TempDir())
	if _, err := f.Create("vm1"); err != nil {
		t.Fatal(err)
	}
	image := f.Path(ImageName("vda", 1))
	if err := os.WriteFile(image, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f.Path(ManifestName)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("vm1"); err == nil {
		t.Fatal("made a new manifest beside images that nothing explains")
	}
	if b, _ := os.ReadFile(image); string(b) != "data" {
		t.Error("image is gone")
	}
}

func TestDebrisIsOnlyWhatVmsyncLeft(t *testing.T) {
	f := lock(t, t.TempDir())
	m := sample()
	touch := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(f.Dir(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name := range m.Files() {
		touch(name)
	}
	debris := []string{".vmsync-tmp-123", "disks/.vmsync-tmp-vda.7.qcow2", "disks/vda.8.qcow2", "disks/vdaa.7.qcow2", "index/vda.8.idx", "nvram/8.fd",
		"run/nvram.7-1.fd", "run/vda.7-2.qcow2", "tpm/8.tar", "xml/.vmsync-tmp-9", "xml/8.xml"}
	foreign := []string{"notes.txt", "index/vda.idx", "disks/backup.qcow2", "disks/vda.7.qcow2.bak", "run/README", "manifest.json"}
	for _, name := range append(slices.Clone(debris), foreign...) {
		touch(name)
	}
	got, err := f.Debris(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(debris, got); diff != "" {
		t.Error(diff)
	}
	if err := f.Remove(append(got, "disks/gone.1.qcow2")...); err != nil {
		t.Fatal(err)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(f.Dir(), name)); err != nil {
			t.Error(err)
		}
	}
}

func TestAbandonedFolderIsGone(t *testing.T) {
	dir := t.TempDir()
	f := lock(t, dir)
	if _, err := f.Create("vm1"); err != nil {
		t.Fatal(err)
	}
	if err := f.Abandon(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	lock(t, dir)
}

func TestAbandonedFolderKeepsWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	f := lock(t, dir)
	if _, err := f.Create("vm1"); err != nil {
		t.Fatal(err)
	}
	theirs := f.Path("disks/precious.img")
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Abandon(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Path(ManifestName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the manifest is still there: %v", err)
	}
}

// TestLockOfARemovedFolderIsNone holds a lock file that was opened before its folder
// was abandoned: whoever makes the folder anew must be the only one to hold it.
func TestLockOfARemovedFolderIsNone(t *testing.T) {
	dir := t.TempDir()
	first := lock(t, dir)
	late, err := os.OpenFile(first.Path(lockFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := hold(late); !errors.Is(err, ErrBusy) {
		t.Errorf("while it is held: %v", err)
	}
	if err := first.Abandon(); err != nil {
		t.Fatal(err)
	}
	if err := hold(late); !errors.Is(err, ErrBusy) {
		t.Errorf("when it is removed: %v", err)
	}
	again := lock(t, dir)
	if err := hold(late); !errors.Is(err, ErrBusy) {
		t.Errorf("when somebody else holds it: %v", err)
	}
	again.Unlock()
}

func TestDiskNamesCannotEscapeTheFolder(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "../x", "vda\x00", "v\n", "-x", "vd.a"} {
		if CheckDiskName(name) == nil {
			t.Errorf("%q accepted", name)
		}
	}
	if err := CheckDiskName("vdaa"); err != nil {
		t.Error(err)
	}
}
