package ext_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// TestLargeDirectory looks up names in a directory whose index has two levels.
func TestLargeDirectory(t *testing.T) {
	image := makeImage(t, 256, "-t ext4 -b 1024 -N 110000")
	checkIndex(t, image, 100_000)
}

// TestHashes looks up names by all hashes that can be set, with characters that make a
// difference between signed and unsigned.
func TestHashes(t *testing.T) {
	for _, hash := range []string{"legacy", "half_md4", "tea"} {
		for _, flags := range []string{"1", "2"} {
			t.Run(hash+" with flags "+flags, func(t *testing.T) {
				image := makeImage(t, 0, "-t ext4 -b 1024")
				fstest.Run(t, "tune2fs", "-E", "hash_alg="+hash, image)
				fstest.Run(t, "debugfs", "-w", "-R", "set_super_value flags "+flags, image)
				checkIndex(t, image, 1000)
			})
		}
	}
}

// TestCollisions looks up names of the same hash, between which blocks end: long names, of
// which a block holds three.
func TestCollisions(t *testing.T) {
	image := makeImage(t, 16, "-t ext4 -b 1024")
	fstest.Run(t, "debugfs", "-w", "-R", "set_super_value hash_seed 01234567-89ab-cdef-0123-456789abcdef", image)
	fsys := open(t, image)
	hashes := map[uint32]string{}
	var names []string
	for n := range 400_000 {
		name := fmt.Sprintf("%d", n)
		hash := ext.HalfMD4(fsys, name+padding(name))
		if other, found := hashes[hash]; found {
			names = append(names, name+padding(name), other+padding(other))
		}
		hashes[hash] = name
	}
	if len(names) < 20 {
		t.Fatalf("%d names collide", len(names))
	}
	var others []string // they make blocks end between names of the same hash
	for n := range 250 {
		others = append(others, fmt.Sprintf("%3d between", n)+padding("100 between"))
	}
	checkNames(t, image, slices.Concat(others[:100], names, others[100:]))
}

func padding(name string) string { return strings.Repeat("x", 250-len(name)) }

// checkIndex makes a directory of so many files, and looks all up. A name that is not
// where its hash says is not found.
func checkIndex(t *testing.T, image string, files int) {
	t.Helper()
	names := make([]string, files)
	for n := range names {
		names[n] = name(n)
	}
	checkNames(t, image, names)
}

func checkNames(t *testing.T, image string, names []string) {
	t.Helper()
	mount := fstest.Mount(t, image, "")
	if err := os.Mkdir(filepath.Join(mount, "many"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := unix.Mknod(filepath.Join(mount, "many", name), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	fstest.Unmount(t, mount)
	fsys := open(t, image)
	dir, err := fsys.Lookup(fsys.Root(), "many")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]filesystem.ID{}
	for entry, err := range fsys.ReadDir(dir) {
		if err != nil {
			t.Fatal(err)
		}
		listed[entry.Name] = entry.ID
	}
	if len(listed) != len(names) {
		t.Fatalf("%d files are listed", len(listed))
	}
	for _, name := range names {
		if id, err := fsys.Lookup(dir, name); err != nil || id != listed[name] {
			t.Fatalf("%s: %d, %v; listed is %d", name, id, err, listed[name])
		}
	}
}

func name(n int) string { return fmt.Sprintf("a file with a long name, number %d é", n) }
