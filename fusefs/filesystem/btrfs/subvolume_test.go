package btrfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// find walks down a path.
func find(t testing.TB, fsys filesystem.FS, path string) filesystem.ID {
	t.Helper()
	id := fsys.Root()
	for _, name := range strings.Split(path, "/") {
		var err error
		if id, err = fsys.Lookup(id, name); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return id
}

func contents(t testing.TB, fsys filesystem.FS, path string) ([]byte, error) {
	t.Helper()
	file, err := fsys.Open(find(t, fsys, path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b := make([]byte, file.Size())
	n, err := file.ReadAt(b, 0)
	return b[:n], err
}

// subvolumes makes nested subvolumes and snapshots of them, and deletes one.
func subvolumes(t testing.TB, dir string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	fstest.Run(t, "btrfs", "subvolume", "create", path("home"))
	write(t, path("home/user/file"), "first")
	fstest.Run(t, "btrfs", "subvolume", "create", path("home/user/nested"))
	write(t, path("home/user/nested/deep"), "nested")
	fstest.Run(t, "btrfs", "subvolume", "create", path("gone"))
	write(t, path("gone/file"), "gone")
	write(t, path("snapshots/readme"), "snapshots")
	fstest.Run(t, "btrfs", "subvolume", "snapshot", "-r", path("home"), path("snapshots/1"))
	write(t, path("home/user/file"), "second")
	fstest.Run(t, "btrfs", "subvolume", "snapshot", path("home"), path("snapshots/2"))
	write(t, path("snapshots/2/user/only here"), "third")
	fstest.Run(t, "btrfs", "subvolume", "snapshot", path("snapshots/2"), path("snapshots/3"))
	fstest.Run(t, "btrfs", "subvolume", "delete", "-C", path("gone"))
}

// The kernel gives the empty directory for a subvolume that a snapshot cannot contain
// the time at which it was first looked at.
var stubs = fstest.Ignore{Paths: []string{"snapshots/1/user/nested", "snapshots/2/user/nested", "snapshots/3/user/nested"}}

func TestSubvolumesAndSnapshots(t *testing.T) {
	i := makeImages(t, 1, 256<<20)
	dir, unmount := i.mount(t, "")
	subvolumes(t, dir)
	unmount()
	i.compare(t, stubs)

	fsys := i.open(t)
	for path, want := range map[string]string{
		"home/user/nested/deep": "nested", "snapshots/1/user/file": "first", "snapshots/2/user/file": "second",
		"snapshots/3/user/only here": "third",
	} {
		if got, err := contents(t, fsys, path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	seen := map[filesystem.ID]string{}
	for _, path := range []string{"home", "snapshots/1", "snapshots/2", "snapshots/3", "home/user", "snapshots/1/user"} {
		id := find(t, fsys, path)
		if other := seen[id]; other != "" {
			t.Errorf("%s and %s have the same ID", path, other)
		}
		seen[id] = path
	}
	stub := find(t, fsys, "snapshots/1/user/nested")
	for entry := range fsys.ReadDir(stub) {
		t.Errorf("a stub contains %q", entry.Name)
	}
	if attr, err := fsys.Stat(stub); err != nil || attr.Mode != 0o40755 || attr.Links != 1 {
		t.Errorf("a stub is %o, %v", attr.Mode, err)
	}
}

func TestDefaultSubvolumeIsShown(t *testing.T) {
	i := makeImages(t, 1, 256<<20)
	dir, unmount := i.mount(t, "")
	subvolumes(t, dir)
	fstest.Run(t, "btrfs", "subvolume", "set-default", filepath.Join(dir, "home"))
	unmount()
	fsys := i.open(t)
	if got, err := contents(t, fsys, "user/file"); err != nil || string(got) != "second" {
		t.Errorf("%q, %v", got, err)
	}
	if notes := fsys.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "default") {
		t.Errorf("notes: %q", notes)
	}
	i.compare(t, fstest.Ignore{})
}

func TestSharedExtents(t *testing.T) {
	i := makeImages(t, 1, 256<<20)
	dir, unmount := i.mount(t, "compress=zstd")
	compressible(t, dir)
	at := func(name string) string { return filepath.Join(dir, "compressible", name) }
	fstest.Run(t, "cp", "--reflink=always", at("words"), at("clone"))
	write(t, at("parts"), strings.Repeat("p", 400000))
	for _, clone := range []string{"40960 0 8192", "135168 102400 200704", "0 327680 131072"} {
		fstest.Run(t, "xfs_io", "-c", "reflink "+at("words")+" "+clone, at("parts"))
	}
	fstest.Run(t, "cp", "--reflink=always", at("parts"), at("defragmented"))
	fstest.Run(t, "btrfs", "filesystem", "defragment", at("defragmented"))
	fstest.Run(t, "xfs_io", "-c", "fpunch 20000 50000", at("parts"))
	fstest.Run(t, "xfs_io", "-c", "falloc 500000 100000", at("parts"))
	want, err := os.ReadFile(at("parts"))
	if err != nil {
		t.Fatal(err)
	}
	unmount()
	i.compare(t, fstest.Ignore{})

	// Pieces of all lengths from all offsets.
	fsys := i.open(t)
	file, err := fsys.Open(find(t, fsys, "compressible/parts"))
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(want); off += 3331 {
		b := make([]byte, 1+off*7%150000)
		n, _ := file.ReadAt(b, int64(off))
		if !bytes.Equal(b[:n], want[off:min(off+len(b), len(want))]) {
			t.Fatalf("%d bytes at %d differ", len(b), off)
		}
	}
}

func TestIDsBeyondThePackedBits(t *testing.T) {
	var ids idTable
	refs := []fileRef{{5, 256, false}, {5, 256, true}, {1<<23 - 1, 1<<39 - 1, false}, {1 << 23, 256, false},
		{1 << 23, 256, true}, {256, 1 << 39, false}, {1 << 62, 1 << 62, false}}
	seen := map[filesystem.ID]bool{}
	for range 2 {
		for _, ref := range refs {
			id, err := ids.pack(ref)
			if err != nil || ids.unpack(id) != ref {
				t.Errorf("%v became %v, %v", ref, ids.unpack(id), err)
			}
			seen[id] = true
		}
	}
	if len(seen) != len(refs) {
		t.Errorf("%d IDs for %d files", len(seen), len(refs))
	}
	for n := uint64(0); ; n++ {
		if _, err := ids.pack(fileRef{1 << 30, n, false}); err != nil {
			break
		}
		if n > maxTabledIDs {
			t.Fatal("the table has no bound")
		}
	}
}
