package powerloss

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	imagetree "vmsync/replicator/target/tree"
)

// chain is a replica whose states are images over one another, made before anything is
// recorded, and what each of them reads as, always.
type chain struct {
	t    *testing.T
	dir  string // the store
	refs string // GENERATION.raw
	m    *store.Manifest
}

func newChain(t *testing.T) *chain {
	t.Helper()
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this test needs %s", tool)
		}
	}
	return &chain{t: t, dir: t.TempDir(), refs: t.TempDir()}
}

// do works on the replica's folder, and saves its manifest.
func (c *chain) do(work func(f *store.Folder)) {
	c.t.Helper()
	f, err := store.Lock(c.dir, domain)
	must(c.t, err)
	defer f.Unlock()
	if c.m == nil {
		c.m, err = f.Create(domain)
		must(c.t, err)
	}
	work(f)
	must(c.t, f.Save(c.m))
}

// add makes a state of one disk, over the last one's, and writes to it.
func (c *chain) add(size int64, commands ...string) {
	c.t.Helper()
	c.do(func(f *store.Folder) {
		c.m.LastGeneration++
		g := c.m.LastGeneration
		img := store.Image{Name: store.ImageName("vda", g), Disk: "vda", Size: size}
		path := f.Path(img.Name)
		if head := c.m.Head(); head != nil {
			img.Backing = head.Disks[0].Image
			must(c.t, qemu.CreateOverlay(c.t.Context(), path, filepath.Base(img.Backing), size))
		} else {
			must(c.t, qemu.Create(c.t.Context(), path, size))
		}
		argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
		for _, command := range commands {
			argv = append(argv, "-c", command)
		}
		must(c.t, run(append(argv, path)...))
		must(c.t, run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, c.raw(g)))
		c.m.Images = append(c.m.Images, img)
		c.index(f, img)
		must(c.t, f.WriteFile(store.XMLName(g), []byte("<domain/>")))
		at := time.Date(2026, 11, 21, 7, 0, int(g), 0, time.UTC)
		c.m.States = append(c.m.States, store.State{ID: c.m.StateID(at, g), Generation: g, Checkpoint: fmt.Sprintf("vmsync-%s-%d", c.m.Pair, g), Time: at,
			Kind: "full", Consistency: "crash", DomainXML: store.XMLName(g), Disks: []store.Disk{{Name: "vda", Size: size, Image: img.Name}}})
	})
}

func (c *chain) raw(generation int64) string {
	return filepath.Join(c.refs, fmt.Sprintf("%d.raw", generation))
}

// index makes an image's index: of the blocks that are not as in the chain under it.
func (c *chain) index(f *store.Folder, img store.Image) {
	c.t.Helper()
	x, err := blockindex.Create(f.Path(store.IndexName(img.Name)), img.Size)
	must(c.t, err)
	var under blockindex.Chain
	if img.Backing != "" {
		under, err = blockindex.OpenChain(paths(f, c.m.Indexes(img.Backing))...)
		must(c.t, err)
		defer under.Close()
	}
	for block, h := range c.hashes(c.m.LastGeneration) {
		old := blockindex.Zero
		if under != nil {
			old, err = under.Lookup(int64(block))
			must(c.t, err)
		}
		if old != h {
			must(c.t, x.Set(int64(block), h))
		}
	}
	must(c.t, x.Sync())
	must(c.t, x.Close())
}

// hashes are those of a state's blocks.
func (c *chain) hashes(generation int64) []blockindex.Hash {
	c.t.Helper()
	b, err := os.ReadFile(c.raw(generation))
	must(c.t, err)
	var all []blockindex.Hash
	for block := range slices.Chunk(b, blockindex.BlockSize) {
		all = append(all, blockindex.Sum(block))
	}
	return all
}

func paths(f *store.Folder, names []string) []string {
	var all []string
	for _, n := range names {
		all = append(all, f.Path(n))
	}
	return all
}

// forget takes states off the list.
func (c *chain) forget(generations ...int64) {
	c.do(func(*store.Folder) {
		c.m.States = slices.DeleteFunc(c.m.States, func(s store.State) bool { return slices.Contains(generations, s.Generation) })
	})
}

// states checks that all states of a folder read, and are indexed, as they should be. What
// one image of a chain holds is compared with qemu's own means.
func (c *chain) states(f *store.Folder, m *store.Manifest) error {
	for _, s := range m.States {
		image := s.Disks[0].Image
		if err := run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", f.Path(image), c.raw(s.Generation)); err != nil {
			return err
		}
		if err := qemu.Check(context.Background(), f.Path(image)); err != nil {
			return err
		}
		if size, err := virtualSize(f.Path(image)); err != nil || size != s.Disks[0].Size {
			return fmt.Errorf("%s is of %d bytes, %w", image, size, err)
		}
		if m.Step != nil {
			continue // the index of what is being merged may be half merged: it is not read
		}
		if err := c.indexed(f, m, s); err != nil {
			return fmt.Errorf("state %d: %w", s.Generation, err)
		}
	}
	return nil
}

// virtualSize reads the size of the disk from an image's header.
func virtualSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], 24); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b[:])), nil
}

func (c *chain) indexed(f *store.Folder, m *store.Manifest, s store.State) error {
	chain, err := blockindex.OpenChain(paths(f, m.Indexes(s.Disks[0].Image))...)
	if err != nil {
		return err
	}
	defer chain.Close()
	for block, want := range c.hashes(s.Generation) {
		if got, err := chain.Lookup(int64(block)); err != nil || got != want {
			return fmt.Errorf("block %d is indexed as %v, %w; it is %v", block, got, err, want)
		}
	}
	return nil
}

// reshape does what is to be done, as a run does.
func (c *chain) reshape(f *store.Folder, m *store.Manifest) (*store.Manifest, error) {
	images := imagetree.Tree{Folder: f, Manifest: m, Own: func(string) error { return nil }}
	_, err := images.Reshape(context.Background())
	return images.Manifest, err
}

// survives reshapes the images and cuts the power at every instant: every state reads as
// it did, and when the next run has gone on there is nothing left to do.
func (c *chain) survives(images int) {
	c.t.Helper()
	rec := Record(c.t, c.dir)
	f, err := store.Lock(rec.Dir(), domain)
	must(c.t, err)
	_, err = c.reshape(f, c.m)
	must(c.t, err)
	must(c.t, f.Unlock())
	rec.Mark("done")
	rec.Stop().Explore(c.t, Options{Crashes: 40}, func(crash Crash) error {
		f, err := store.Lock(crash.Dir, domain)
		if err != nil {
			return err
		}
		defer f.Unlock()
		m, err := f.Load()
		if err != nil {
			return err
		}
		if len(crash.Marks) > 0 && (m.NextStep() != nil || len(m.Images) != images) {
			return fmt.Errorf("all was done, and there is something to do: %+v", m)
		}
		if err := c.states(f, m); err != nil {
			return err
		}
		if m, err = c.reshape(f, m); err != nil {
			return fmt.Errorf("once more: %w", err)
		}
		if len(m.Images) != images {
			return fmt.Errorf("%d images are left", len(m.Images))
		}
		if err := c.states(f, m); err != nil {
			return fmt.Errorf("after it was done again: %w", err)
		}
		return nil
	})
}

// TestMergeSurvivesPowerLoss merges an image in the middle of a chain, one that has grown,
// into the one under it.
func TestMergeSurvivesPowerLoss(t *testing.T) {
	c := newChain(t)
	c.add(3<<20, "write -P 1 0 300k", "write -P 2 2M 200k")
	c.add(3<<20, "write -P 3 200k 200k", "write -z 2M 64k", "write -P 6 3000k 72k")
	c.add(4<<20, "write -P 4 100k 50k", "write -P 5 3500k 64k", "write -z 300k 64k")
	c.add(4<<20, "write -P 7 1M 64k")
	c.forget(2)
	c.survives(3)
}

// TestMergeOfAShrunkDiskSurvivesPowerLoss merges an image that is smaller than the one
// under it.
func TestMergeOfAShrunkDiskSurvivesPowerLoss(t *testing.T) {
	c := newChain(t)
	c.add(4<<20, "write -P 1 0 300k", "write -P 2 3M 800k")
	c.add(3<<20+512*100, "write -P 3 200k 200k", "write -z 64k 64k")
	c.forget(1)
	c.survives(1)
}

// TestShorteningSurvivesPowerLoss lets a chain grow too long: its last image is then laid
// over its first, and what only it needed goes.
func TestShorteningSurvivesPowerLoss(t *testing.T) {
	c := newChain(t)
	c.add(1<<20, "write -P 1 0 300k", "write -P 2 900k 100k")
	for i := range store.MaxChain {
		c.add(1<<20, fmt.Sprintf("write -P %d %dk 4k", i+3, i*13))
	}
	for g := int64(3); g <= store.MaxChain; g++ {
		c.forget(g)
	}
	c.survives(3)
}
