package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// small makes small images with a file and a directory or two in them.
func small(t testing.TB) map[string][]byte {
	root := t.TempDir()
	write(t, root, "a file with a long name.text", random(1, 5000))
	write(t, root, "dir/sub/file", random(2, 100))
	write(t, root, "dir/other", nil)
	images := map[string][]byte{}
	for bits, size := range map[string]int64{"12": 1 << 20, "16": 5 << 20, "32": 34 << 20} {
		image := format(t, size, "-F", bits, "-s", "1")
		copyIn(t, image, root)
		content, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		images["FAT"+bits] = content
	}
	return images
}

func fromMemory(t testing.TB, content []byte) *volume {
	t.Helper()
	fsys, err := Open(device.OfReaderAt(bytes.NewReader(content), int64(len(content))))
	if err != nil {
		t.Fatal(err)
	}
	return fsys.(*volume)
}

// link makes a cluster be followed by another in an image of FAT16.
func link(v *volume, image []byte, cluster, next uint32) {
	binary.LittleEndian.PutUint16(image[v.layout.table+int64(cluster)*2:], uint16(next))
}

func TestDamagedChainsAreErrorsOfTheirFile(t *testing.T) {
	for name, next := range map[string]func(first uint32) uint32{
		"comes back":       func(first uint32) uint32 { return first },
		"leads to nothing": func(uint32) uint32 { return 0 },
		"leads too far":    func(uint32) uint32 { return 0xfff0 },
		"ends early":       func(uint32) uint32 { return 0xffff },
		"bad cluster":      func(uint32) uint32 { return 0xfff7 },
	} {
		image := bytes.Clone(small(t)["FAT16"])
		v := fromMemory(t, image)
		id := find(t, v, "a file with a long name.text")
		r, err := v.record(id)
		if err != nil {
			t.Fatal(err)
		}
		first := r.cluster(16)
		link(v, image, first+2, next(first))
		v = fromMemory(t, image)
		file, err := v.Open(id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.ReadAt(make([]byte, 1024), 0); err != nil {
			t.Errorf("%s: what comes before cannot be read: %v", name, err)
		}
		if _, err := file.ReadAt(make([]byte, 5000), 0); !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: reads as %v", name, err)
		}
		if got := readAll(t, v, find(t, v, "dir/sub/file")); !bytes.Equal(got, random(2, 100)) {
			t.Errorf("%s: another file has other bytes", name)
		}
	}
}

func TestDirectoriesWithoutEnd(t *testing.T) {
	image := bytes.Clone(small(t)["FAT16"])
	v := fromMemory(t, image)
	id := find(t, v, "dir")
	dir, err := v.directory(id)
	if err != nil {
		t.Fatal(err)
	}
	sub := find(t, v, "dir/sub")
	link(v, image, dir.first, dir.first)
	if _, err := fromMemory(t, image).Lookup(id, "sub"); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("a directory whose chain is a cycle: %v", err)
	}
	link(v, image, dir.first, 0xffff)
	binary.LittleEndian.PutUint16(image[int64(sub)*recordSize+26:], uint16(dir.first))
	v = fromMemory(t, image)
	inner, err := v.Lookup(id, "sub")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Stat(inner); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("a directory that contains itself: %v", err)
	}
	if _, err := v.Lookup(id, "other"); err != nil {
		t.Errorf("what is beside it: %v", err)
	}
}

// Fuzz input is a list of places, of 3 bytes, and what to write there, of one.
func FuzzVolume(f *testing.F) {
	images := small(f)
	kinds := []string{"FAT12", "FAT16", "FAT32"}
	for i := range kinds {
		f.Add(uint8(i), []byte{0, 0, 11, 0, 0, 0, 13, 128})
		f.Add(uint8(i), []byte{0, 2, 3, 3, 0, 2, 4, 4})
	}
	var used [][]int
	for _, kind := range kinds {
		used = append(used, interesting(images[kind]))
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		kind := int(which) % len(kinds)
		image := images[kinds[kind]]
		d := fstest.Patched(image)
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			d.Set(int64(used[kind][at%len(used[kind])]), edits[3])
		}
		if fsys, err := Open(d); err == nil {
			fstest.Exercise(fsys)
		}
	})
}

// interesting lists where an image has something else than zeros, and what is next to it.
func interesting(image []byte) []int {
	var places []int
	for i := range image {
		for j := max(0, i-4); j < min(len(image), i+5); j++ {
			if image[j] != 0 {
				places = append(places, i)
				break
			}
		}
	}
	return places
}

func TestManyReadersAtOnce(t *testing.T) {
	v := fromMemory(t, small(t)["FAT32"])
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { fstest.Exercise(v) })
	}
	all.Wait()
}
