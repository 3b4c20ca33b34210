package source

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// imageWith makes a real image with bitmaps of those names.
func imageWith(t testing.TB, names ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.qcow2")
	run := func(args ...string) {
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
		}
	}
	run("create", "-q", "-f", "qcow2", path, "64M")
	for _, name := range names {
		run("bitmap", "--add", path, name)
	}
	return path
}

func TestStoredBitmapsAreNamed(t *testing.T) {
	for what, want := range map[string][]string{
		"none":                nil,
		"one":                 {"vmsync-0a1b2c3d-1"},
		"names of any length": {"x", strings.Repeat("n", 1000), "vmsync-0a1b2c3d-12"},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := storedBitmaps(imageWith(t, want...))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	raw := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(raw, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := storedBitmaps(raw); err != nil || got != nil {
		t.Errorf("of a raw image: %v, %v", got, err)
	}
	if err := os.Truncate(raw, 10); err != nil {
		t.Fatal(err)
	}
	if got, err := storedBitmaps(raw); err != nil || got != nil {
		t.Errorf("of a short file: %v, %v", got, err)
	}
}

func TestBitmapsThatQemuDoesNotBelieveAreNone(t *testing.T) {
	path := imageWith(t, "vmsync-0a1b2c3d-1")
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// What writes to an image without knowing of bitmaps clears this.
	binary.BigEndian.PutUint64(image[offAutoclear:], 0)
	if got, err := parseBitmaps(bytes.NewReader(image)); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzParseBitmaps: no image makes it fail otherwise than by an error, or take much
// memory.
func FuzzParseBitmaps(f *testing.F) {
	image, err := os.ReadFile(imageWith(f, "vmsync-0a1b2c3d-1", "two"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Fuzz(func(t *testing.T, image []byte) {
		names, err := parseBitmaps(bytes.NewReader(image))
		if err != nil && names != nil {
			t.Errorf("names %q with error %v", names, err)
		}
	})
}
