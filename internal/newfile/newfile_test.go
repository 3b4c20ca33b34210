package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestPlaceKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, name := range []string{from, to} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Place(from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(to); string(b) != to {
		t.Errorf("it was replaced by %q", b)
	}
	if err := os.Remove(to); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Sync(from), Place(from, to), Sync(dir)); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(to); string(b) != from {
		t.Errorf("placed %q", b)
	}
	if err := Sync(from); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
