package target_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/target"
	"vmsync/replicator/target/tree"
)

// blocks is the size of the disk of these tests, in blocks of 64 KiB.
const blocks = 64

// replica is one that was made without a source: a state an hour, of one small disk.
type replica struct {
	dir    string // the store
	folder *store.Folder
	m      *store.Manifest
	// truth is, for each generation, the byte that each block is full of.
	truth map[int64][blocks]byte
}

// makeReplica makes a replica with states, whose images have the shape that they have
// after as many syncs that keep all of them.
func makeReplica(tb testing.TB, states int) *replica {
	tb.Helper()
	r := &replica{dir: tb.TempDir(), truth: map[int64][blocks]byte{}}
	var err error
	if r.folder, err = store.Lock(r.dir, "vm1"); err != nil {
		tb.Fatal(err)
	}
	if r.m, err = r.folder.Create("vm1"); err != nil {
		tb.Fatal(err)
	}
	for g := range int64(states) {
		r.grow(tb, g+1)
	}
	if err := r.folder.Unlock(); err != nil {
		tb.Fatal(err)
	}
	return r
}

// grow adds a state as a sync does: three blocks change, one of them to zeros.
func (r *replica) grow(tb testing.TB, generation int64) {
	tb.Helper()
	const size = blocks * blockindex.BlockSize
	image := store.ImageName("vda", generation)
	path := r.folder.Path(image)
	content, backing := [blocks]byte{}, ""
	var err error
	if head := r.m.Head(); head != nil {
		content, backing = r.truth[head.Generation], head.Disks[0].Image
		err = qemu.CreateOverlay(tb.Context(), path, filepath.Base(backing), size)
	} else {
		err = qemu.Create(tb.Context(), path, size)
	}
	if err != nil {
		tb.Fatal(err)
	}
	index, err := blockindex.Create(r.folder.Path(store.IndexName(image)), size)
	if err != nil {
		tb.Fatal(err)
	}
	var argv []string
	for i, b := range []int64{generation % blocks, (generation*7 + 3) % blocks, (generation*11 + 5) % blocks} {
		value := byte(generation + int64(i)*100)
		write := fmt.Sprintf("write -q -P %d", value)
		if i == 2 {
			value, write = 0, "write -q -z"
		}
		argv = append(argv, "-c", fmt.Sprintf("%s %d %d", write, b*blockindex.BlockSize, blockindex.BlockSize))
		content[b] = value
		if err := index.Set(b, blockindex.Sum(bytes.Repeat([]byte{value}, blockindex.BlockSize))); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(index.Sync(), index.Close()); err != nil {
		tb.Fatal(err)
	}
	// Whole clusters can be written without opening what lies below.
	alone := fmt.Sprintf(`json:{"driver": "qcow2", "backing": null, "file": {"driver": "file", "filename": %q}}`, path)
	if out, err := exec.Command("qemu-io", append(argv, alone)...).CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	xml := store.XMLName(generation)
	if err := os.WriteFile(r.folder.Path(xml), []byte("<domain/>"), 0o600); err != nil {
		tb.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC).Add(time.Duration(generation-1) * time.Hour)
	r.m.LastGeneration = generation
	r.m.Images = append(slices.Clone(r.m.Images), store.Image{Name: image, Disk: "vda", Size: size, Backing: backing})
	r.m.States = append(slices.Clone(r.m.States), store.State{ID: r.m.StateID(at, generation), Generation: generation, Time: at, Kind: "incremental",
		Checkpoint: replicator.CheckpointName(r.m.Pair, generation), DomainXML: xml, Consistency: "crash",
		Disks: []store.Disk{{Name: "vda", Size: size, Image: image}}})
	r.truth[generation] = content
	if err := r.folder.Save(r.m); err != nil {
		tb.Fatal(err)
	}
	images := tree.Tree{Folder: r.folder, Manifest: r.m, Own: func(string) error { return nil }}
	if _, err := images.Reshape(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	r.m = images.Manifest
}

// reload reads the manifest anew.
func (r *replica) reload(tb testing.TB) {
	tb.Helper()
	m, err := store.Read(r.dir, "vm1")
	if err != nil {
		tb.Fatal(err)
	}
	r.m = m
}

// path is that of a state's image.
func (r *replica) path(s *store.State) string {
	return filepath.Join(r.dir, "vm1", s.Disks[0].Image)
}

// reads checks that states read as they should, by qemu's means and by their indexes.
func (r *replica) reads(t *testing.T, states ...store.State) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	for _, s := range states {
		if out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", r.path(&s), raw).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for _, b := range r.truth[s.Generation] {
			want = append(want, bytes.Repeat([]byte{b}, blockindex.BlockSize)...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("state %d does not read as it should", s.Generation)
		}
		var indexes []string
		for _, name := range r.m.Indexes(s.Disks[0].Image) {
			indexes = append(indexes, filepath.Join(r.dir, "vm1", name))
		}
		chain, err := blockindex.OpenChain(indexes...)
		if err != nil {
			t.Fatal(err)
		}
		for b := range int64(blocks) {
			h, err := chain.Lookup(b)
			if err != nil || h != blockindex.Sum(want[b*blockindex.BlockSize:(b+1)*blockindex.BlockSize]) {
				t.Fatalf("the index of state %d is wrong about block %d: %v, %v", s.Generation, b, h, err)
			}
		}
		if err := chain.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *replica) generations() []int64 {
	var all []int64
	for _, s := range r.m.States {
		all = append(all, s.Generation)
	}
	return all
}

// files are the names in a sub-folder.
func (r *replica) files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.dir, "vm1", dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (r *replica) administer(t *testing.T) *target.Admin {
	t.Helper()
	a, err := target.Administer(t.Context(), r.dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestThreeHundredStates makes them, looks at whether the newest can be read without
// waiting, and prunes them by a grid.
func TestThreeHundredStates(t *testing.T) {
	r := makeReplica(t, 300)
	longest := 0
	for _, s := range r.m.States {
		longest = max(longest, len(r.m.Chain(s.Disks[0].Image)))
	}
	if longest > store.MaxChain || longest < store.MaxChain/2 {
		t.Errorf("the longest chain has %d images", longest)
	}
	var some []store.State
	for i := 9; i < 300; i += 29 {
		some = append(some, r.m.States[i])
	}
	r.reads(t, append(some, *r.m.Head())...)

	best := time.Hour
	for range 5 {
		start := time.Now()
		r.open(t)
		best = min(best, time.Since(start))
	}
	t.Logf("a chain has up to %d images; opening and reading the newest state takes %v", longest, best)
	if best > time.Second { // it takes less than 200 ms where nothing else runs
		t.Errorf("it takes %v to open the newest state", best)
	}
	start := time.Now()
	if l, err := store.List(t.Context(), r.dir, "vm1"); err != nil || len(l.States) != 300 {
		t.Fatalf("%+v, %v", l, err)
	}
	t.Logf("listing takes %v", time.Since(start))

	// One state an hour from 2026-11-01 00:30 to 2026-11-13 11:30, a Friday.
	removed, err := r.administer(t).Prune(t.Context(), "last=3,daily=4,weekly=2")
	if err != nil || len(removed.Warnings)+len(removed.Held) > 0 || removed.Freed <= 0 || len(removed.States) != 293 {
		t.Fatalf("%+v, %v", removed, err)
	}
	r.reload(t)
	if got, want := r.generations(), []int64{192, 240, 264, 288, 298, 299, 300}; !slices.Equal(got, want) {
		t.Errorf("left are %v, not %v", got, want)
	}
	r.reads(t, r.m.States...)
	r.isTidy(t)
}

// isTidy checks that there is no image that is not a state's and that only one other
// image lies over, and no other file.
func (r *replica) isTidy(t *testing.T) {
	t.Helper()
	over, named, want := map[string]int{}, map[string]bool{}, []string{}
	for _, img := range r.m.Images {
		over[img.Backing]++
		want = append(want, filepath.Base(img.Name))
	}
	for _, s := range r.m.States {
		named[s.Disks[0].Image] = true
	}
	for _, img := range r.m.Images {
		if !named[img.Name] && over[img.Name] < 2 {
			t.Errorf("image %s is of no use", img.Name)
		}
	}
	slices.Sort(want)
	images, indexes, xmls := r.files(t, "disks"), r.files(t, "index"), r.files(t, "xml")
	if !slices.Equal(images, want) || len(indexes) != len(images) || len(xmls) != len(r.m.States) {
		t.Errorf("files left: %q, %q, %q", images, indexes, xmls)
	}
}

// open reads a block of the newest state.
func (r *replica) open(tb testing.TB) {
	tb.Helper()
	if out, err := exec.Command("qemu-io", "-r", "-f", "qcow2", "-c", "read -q 0 64k", r.path(r.m.Head())).CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
}

func BenchmarkOpenTheNewestOf300States(b *testing.B) {
	r := makeReplica(b, 300)
	for b.Loop() {
		r.open(b)
	}
}

// TestEachStateCanBeDeletedButThoseThatAreNeeded deletes every state of a chain in turn,
// the base and those in the middle.
func TestEachStateCanBeDeletedButThoseThatAreNeeded(t *testing.T) {
	for victim := range int64(6) {
		r := makeReplica(t, 6)
		a := r.administer(t)
		name := r.m.State(victim + 1).ID
		removed, err := a.Delete(t.Context(), []string{name})
		r.reload(t)
		if victim == 5 {
			if replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), "the newest state") || len(r.m.States) != 6 {
				t.Errorf("the head: %+v, %v", removed, err)
			}
		} else if err != nil || !slices.Equal(removed.States, []string{name}) || len(r.m.States) != 5 || len(r.m.Images) != 5 {
			t.Errorf("state %d: %+v, %v, %+v", victim+1, removed, err, r.m.Images)
		}
		r.reads(t, r.m.States...)
		r.isTidy(t)
	}
}

func TestWhatCannotBeDeletedKeepsAllTheOthers(t *testing.T) {
	r := makeReplica(t, 5)
	ids := []string{}
	for _, s := range r.m.States {
		ids = append(ids, s.ID)
	}
	pin, err := store.PinState(t.Context(), r.dir, "vm1", ids[1], "export vm1")
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	a := r.administer(t)
	for name, c := range map[string]struct {
		states []string
		kind   string
		says   string
	}{
		"pinned":  {[]string{ids[0], ids[1]}, replicator.KindPinned, "in use by export vm1"},
		"head":    {[]string{ids[0], store.Latest}, replicator.KindUsage, "the next sync brings"},
		"unknown": {[]string{ids[0], "2000"}, replicator.KindNoState, ids[4]},
	} {
		if _, err := a.Delete(t.Context(), c.states); replicator.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if r.reload(t); len(r.m.States) != 5 {
			t.Fatalf("%s: %d states are left", name, len(r.m.States))
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := target.Administer(soon, r.dir, "vm1"); replicator.KindOf(err) != replicator.KindBusy {
		t.Errorf("while another one is at work: %v, %v", got, err)
	}
	if got, err := target.Administer(t.Context(), r.dir, "vm2"); replicator.KindOf(err) != replicator.KindNoReplica {
		t.Errorf("%v, %v", got, err)
	}

	// With a damaged head the one before it is what the replica boots.
	r.m.Images[4].Damaged = "torn"
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := store.Lock(r.dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(r.m); err != nil {
		t.Fatal(err)
	}
	if err := f.Unlock(); err != nil {
		t.Fatal(err)
	}
	a = r.administer(t)
	if _, err := a.Delete(t.Context(), ids[3:4]); replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), "not damaged") {
		t.Errorf("%v", err)
	}
	removed, err := a.Prune(t.Context(), "")
	if err != nil || !slices.Equal(removed.States, []string{ids[0], ids[2]}) || len(removed.Held) != 1 {
		t.Errorf("%+v, %v", removed, err)
	}
	r.reload(t)
	r.reads(t, r.m.States[:2]...)
}
