package passable

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestFoldersArePassableWhateverTheUmask changes the umask of the process: nothing may run
// beside it.
func TestFoldersArePassableWhateverTheUmask(t *testing.T) {
	top := t.TempDir()
	if err := os.Chmod(top, 0o700); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(top, "a", "b")
	if made, err := MkdirAll(dir); err != nil || !made {
		t.Errorf("made %v, %v", made, err)
	}
	if modeOf(t, dir) != mode || modeOf(t, filepath.Dir(dir)) != mode {
		t.Errorf("%v, %v", modeOf(t, dir), modeOf(t, filepath.Dir(dir)))
	}
	if modeOf(t, top) != 0o700 {
		t.Errorf("the folder that was there is %v", modeOf(t, top))
	}
	if made, err := MkdirAll(dir); err != nil || made {
		t.Errorf("made %v again, %v", made, err)
	}
}

func TestFolderBecomesPassable(t *testing.T) {
	dir := t.TempDir()
	for have, want := range map[os.FileMode]os.FileMode{0o700: 0o711, 0o750: 0o751, 0o755: 0o755, 0o711: 0o711} {
		if err := os.Chmod(dir, have); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(dir); err != nil || modeOf(t, dir) != want {
			t.Errorf("%v became %v, want %v: %v", have, modeOf(t, dir), want, err)
		}
	}
	if err := Ensure(filepath.Join(dir, "gone")); !os.IsNotExist(err) {
		t.Errorf("of a folder that is not there: %v", err)
	}
}

func TestFileInTheWayIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		if _, err := MkdirAll(dir); err == nil {
			t.Errorf("%s was made", dir)
		}
	}
}
