package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// TestListingCountsEachImageOnce lists a tree in which states share images, and two
// images are no state's own.
func TestListingCountsEachImageOnce(t *testing.T) {
	dir, f, m := replica(t, 7, 8, 9, 20)
	m.Images = append([]Image{{Name: ImageName("vda", 1), Disk: "vda", Size: m.Images[0].Size}}, m.Images...)
	for i := 1; i < len(m.Images); i++ {
		m.Images[i].Backing = m.Images[i-1].Name
	}
	m.Images[3].Damaged = "block 7"
	m.States[1].Disks[0].Image = ImageName("vda", 7) // not changed in 8
	if err := f.Save(m); err != nil {
		t.Fatal(err)
	}
	for i, img := range m.Images {
		if err := os.WriteFile(f.Path(img.Name), make([]byte, (i+1)<<16), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer pinState(t, dir, m.States[2].ID, "mount /mnt").Release()
	l, err := List(t.Context(), dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for i, want := range []struct {
		blocks  int64 // of 64 KiB
		damaged bool
		pinned  int
		head    bool
	}{{1 + 2, false, 0, false}, {0, false, 0, false}, {3 + 4, true, 1, false}, {5, true, 0, true}} {
		s := l.States[i]
		sum += s.Own
		if s.Own != want.blocks<<16 || (s.Damaged != "") != want.damaged || len(s.Pinned) != want.pinned || s.Head != want.head || s.Size != 1<<30 {
			t.Errorf("%s: %+v", s.ID, s)
		}
	}
	if l.Allocated != sum || !l.Newest().Equal(m.States[3].Time) {
		t.Errorf("%d allocated, own %d", l.Allocated, sum)
	}
}

func TestLookingMakesAndRemovesNothing(t *testing.T) {
	dir, f, m := replica(t, 7)
	if _, err := List(t.Context(), dir, "vm2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a replica that is not there: %v", err)
	}
	if _, err := LockExisting(dir, "vm2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock of a replica that is not there: %v", err)
	}
	if _, err := List(t.Context(), dir, "../vm1"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a path: %v", err)
	}
	if _, err := List(t.Context(), dir, "vm1"); err != nil { // although it is locked
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Path(pinsDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made a folder of pins: %v", err)
	}
	pin := pinState(t, dir, m.States[0].ID, "x")
	pin.file.Close() // as when its process dies
	if held, err := f.Holders(t.Context()); err != nil || len(held) > 0 {
		t.Errorf("%v, %v", held, err)
	}
	if _, err := os.Stat(pin.file.Name()); err != nil {
		t.Errorf("swept: %v", err)
	}
	if err := os.MkdirAll(dir+"/.other", 0o700); err != nil {
		t.Fatal(err)
	}
	if names, err := Replicas(dir); err != nil || !slices.Equal(names, []string{"vm1"}) {
		t.Errorf("%q, %v", names, err)
	}
	if names, err := Replicas(dir + "/none"); err != nil || len(names) > 0 {
		t.Errorf("%q, %v", names, err)
	}
}

func TestWhetherSomebodyIsAtWorkCanBeSeen(t *testing.T) {
	dir, f, _ := replica(t, 7)
	looking, err := Unlocked(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if busy, err := looking.InUse(); err != nil || busy != want {
			t.Errorf("busy %v, %v, want %v", busy, err, want)
		}
		f.Unlock()
	}
	again, err := Lock(dir, "vm1") // the look left no lock
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}

func BenchmarkListOf300States(b *testing.B) {
	dir := b.TempDir()
	f, err := Lock(dir, "vm1")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Unlock()
	var generations []int64
	for g := range int64(300) {
		generations = append(generations, g+1)
	}
	m := held(generations...)
	for i := range m.Images {
		if i > 0 {
			m.Images[i].Backing = m.Images[i-1].Name
		}
		if err := os.WriteFile(f.Path(m.Images[i].Name), []byte(fmt.Sprint(i)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Save(m); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := List(b.Context(), dir, "vm1"); err != nil {
			b.Fatal(err)
		}
	}
}
