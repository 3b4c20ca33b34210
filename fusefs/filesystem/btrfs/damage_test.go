package btrfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// flip changes every byte sequence old in an image, and returns how many there were.
func flip(t testing.TB, image, old string) int {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	found := 0
	for at := 0; ; found++ {
		i := bytes.Index(b[at:], []byte(old))
		if i < 0 {
			return found
		}
		at += i + len(old)
		if _, err := file.WriteAt([]byte{b[at-1] ^ 0x40}, int64(at-1)); err != nil {
			t.Fatal(err)
		}
	}
}

// marked makes a filesystem of two files with a marker each in their data.
func marked(t testing.TB, count int, mkfs ...string) images {
	t.Helper()
	i := makeImages(t, count, 128<<20, mkfs...)
	dir, unmount := i.mount(t, "")
	write(t, filepath.Join(dir, "first"), strings.Repeat("a", 50000)+"<marker one>"+strings.Repeat("b", 50000))
	write(t, filepath.Join(dir, "second"), strings.Repeat("c", 50000)+"<marker two>"+strings.Repeat("d", 50000))
	unmount()
	return i
}

func check(t testing.TB, fsys filesystem.FS, path, marker string) {
	t.Helper()
	got, err := contents(t, fsys, path)
	if err != nil || len(got) != 100012 || string(got[50000:50012]) != marker {
		t.Errorf("%s: %d bytes, %v", path, len(got), err)
	}
}

func TestDamagedDataOfOneCopy(t *testing.T) {
	i := marked(t, 2, "-d", "raid1", "-m", "raid1")
	if flip(t, i[0], "<marker one>") != 1 || flip(t, i[1], "<marker two>") != 1 {
		t.Fatal("the files are not where they should be")
	}
	fsys := i.open(t)
	check(t, fsys, "first", "<marker one>")
	check(t, fsys, "second", "<marker two>")
}

func TestDamagedDataWithoutAnotherCopy(t *testing.T) {
	i := marked(t, 1)
	if flip(t, i[0], "<marker one>") != 1 {
		t.Fatal("the file is not where it should be")
	}
	fsys := i.open(t)
	check(t, fsys, "second", "<marker two>")
	file, err := fsys.Open(find(t, fsys, "first"))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	if _, err := file.ReadAt(b, 48<<10); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("the damaged sector: %v", err)
	}
	if _, err := file.ReadAt(b, 0); err != nil || b[17] != 'a' {
		t.Errorf("a sector beside it: %v", err)
	}
}

func TestDamagedMetadata(t *testing.T) {
	i := marked(t, 1, "-m", "single")
	if flip(t, i[0], "second") == 0 {
		t.Fatal("no leaf holds the name")
	}
	if _, err := Open(i.devices(t)...); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("a leaf was damaged: %v", err)
	}
	i = marked(t, 1, "-m", "dup")
	file, err := os.OpenFile(i[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v := i.open(t).(*reader)
	item, err := v.findRoot(treeTop)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.volume.find(item.ref.at)
	if err != nil {
		t.Fatal(err)
	}
	copies, at, _ := c.locate(item.ref.at - c.start)
	if len(copies) != 2 {
		t.Fatalf("%d copies", len(copies))
	}
	if _, err := file.WriteAt(make([]byte, 4096), int64(copies[0].offset+at)); err != nil {
		t.Fatal(err)
	}
	check(t, i.open(t), "second", "<marker two>")
}

func TestNamesThatNoFileCanHave(t *testing.T) {
	for _, name := range []string{"slasho", "nul@", ".n"} { // which flip makes "slash/", "nul\x00" and ".."
		i := makeImages(t, 1, 128<<20)
		dir, unmount := i.mount(t, "")
		write(t, filepath.Join(dir, name), "")
		unmount()
		flip(t, i[0], name)
		fsys, err := open(i.devices(t), unchecked)
		if err != nil {
			t.Fatal(err)
		}
		for entry, err := range fsys.ReadDir(fsys.Root()) {
			if !errors.Is(err, filesystem.ErrCorrupt) {
				t.Errorf("the name %q: %v", entry.Name, err)
			}
		}
	}
}

func TestDamagedSuperblock(t *testing.T) {
	i := marked(t, 1)
	file, err := os.OpenFile(i[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("x"), 64<<10+0x50); err != nil {
		t.Fatal(err)
	}
	fsys := i.open(t)
	check(t, fsys, "first", "<marker one>")
	if notes := fsys.Info().Notes; len(notes) != 1 {
		t.Errorf("notes: %q", notes)
	}
	// Without the magic it is another filesystem, whatever an old copy says.
	if _, err := file.WriteAt([]byte("x"), 64<<10+0x40); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(i.devices(t)...); !errors.Is(err, filesystem.ErrUnknown) {
		t.Errorf("without magic: %v", err)
	}
}

func TestMissingMembers(t *testing.T) {
	for _, profile := range []struct {
		name  string
		count int
		whole bool // one of the members is enough for everything
	}{{"raid1", 2, true}, {"raid1c3", 3, true}, {"raid10", 4, true}, {"raid0", 2, false}} {
		t.Run(profile.name, func(t *testing.T) {
			i := marked(t, profile.count, "-d", profile.name, "-m", "raid1")
			for missing := range i {
				devices := i.devices(t)
				devices = append(devices[:missing], devices[missing+1:]...)
				fsys, err := Open(devices...)
				if err != nil {
					t.Fatal(err)
				}
				if notes := fsys.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "missing") {
					t.Errorf("notes: %q", notes)
				}
				if profile.whole {
					check(t, fsys, "first", "<marker one>")
					check(t, fsys, "second", "<marker two>")
					continue
				}
				_, err = contents(t, fsys, "first")
				if !errors.Is(err, filesystem.ErrUnsupported) || !strings.Contains(err.Error(), "needs 2 devices, 1 given") {
					t.Errorf("without device %d: %v", missing+1, err)
				}
			}
		})
	}
}

func TestMembersAreIdentified(t *testing.T) {
	i := marked(t, 2, "-d", "raid1", "-m", "raid1")
	other := marked(t, 1)
	var found []Identity
	for _, d := range i.devices(t) {
		identity, err := Identify(d)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, identity)
	}
	uuid := strings.TrimSpace(fstest.Run(t, "blkid", "-p", "-o", "value", "-s", "UUID", i[0]))
	if found[0].UUID != uuid || found[1].UUID != uuid || found[0].DeviceID != 1 || found[1].DeviceID != 2 || found[0].Devices != 2 {
		t.Errorf("%+v", found)
	}
	for name, images := range map[string]images{"another filesystem": append(i[:1:1], other...), "a clone": {i[0], i[0]}} {
		if _, err := Open(images.devices(t)...); !errors.Is(err, filesystem.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutdatedMember(t *testing.T) {
	i := marked(t, 2, "-d", "raid1", "-m", "raid1")
	old := i.copies(t)
	dir, unmount := i.mount(t, "")
	write(t, filepath.Join(dir, "first"), strings.Repeat("A", 50000)+"<marker new>"+strings.Repeat("B", 50000))
	unmount()
	for _, mixed := range []images{{old[0], i[1]}, {i[0], old[1]}} {
		fsys := mixed.open(t)
		check(t, fsys, "first", "<marker new>")
		if notes := fsys.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "missed") {
			t.Errorf("notes: %q", notes)
		}
	}
}
