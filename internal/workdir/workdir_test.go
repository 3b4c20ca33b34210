package workdir

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatADeadProgramLeftGoes(t *testing.T) {
	parent := t.TempDir()
	left, other := filepath.Join(parent, "a-1"), filepath.Join(parent, "b-1")
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	first, err := makeIn(parent, "a")
	if err != nil {
		t.Fatal(err)
	}
	second, err := makeIn(parent, "a")
	if err != nil {
		t.Fatal(err)
	}
	for path, there := range map[string]bool{left: false, other: true, first.Path: true, second.Path: true} {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, d := range []*Dir{first, second} {
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.Path); err == nil {
			t.Errorf("%s is left", d.Path)
		}
	}
}
