package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
	imagetree "vmsync/replicator/target/tree"
)

const (
	domain   = "vm1"
	diskSize = int64(4) << 20 // bytes
)

// replica is a replica's folder that a test works on, with what it promised.
type replica struct {
	t        *testing.T
	rec      *Recorder
	f        *store.Folder
	m        *store.Manifest
	refs     string            // folder with each generation's disk as GENERATION.raw
	contents map[string][]byte // of files that don't change as long as they are named
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{t: t, rec: Record(t, t.TempDir()), refs: t.TempDir(), contents: map[string][]byte{}}
	var err error
	r.f, err = store.Lock(r.rec.Dir(), domain)
	must(t, err)
	t.Cleanup(func() { r.f.Unlock() })
	r.m, err = r.f.Create(domain)
	must(t, err)
	r.rec.Mark("0")
	return r
}

// stop ends the recording.
func (r *replica) stop() *Log {
	r.t.Helper()
	must(r.t, r.f.Unlock())
	return r.rec.Stop()
}

// state makes the next state the head, with a disk of the images given, base first; and
// keeps only so many states before it. The mark that it leaves is its generation.
func (r *replica) state(before int, images ...string) {
	r.t.Helper()
	g := r.m.LastGeneration
	xml := []byte(fmt.Sprintf("<domain generation='%d'/>\n", g))
	must(r.t, r.f.WriteFile(store.XMLName(g), xml))
	r.contents[store.XMLName(g)] = xml
	for _, name := range images {
		path := r.f.Path(store.IndexName(name))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		index, err := blockindex.Create(path, diskSize)
		must(r.t, err)
		must(r.t, index.Set(g, blockindex.Sum([]byte(name))))
		must(r.t, errors.Join(index.Sync(), index.Close()))
		must(r.t, r.f.SyncFiles(store.IndexName(name)))
	}
	must(r.t, r.f.SyncFiles(images...))
	at := time.Date(2026, 11, 21, 7, 0, int(g), 0, time.UTC)
	for i, name := range images {
		if r.m.Image(name) != nil {
			continue
		}
		img := store.Image{Name: name, Disk: "vda", Size: diskSize}
		if i > 0 {
			img.Backing = images[i-1]
		}
		r.m.Images = append(r.m.Images, img)
	}
	states := append(slices.Clone(r.m.States), store.State{
		ID: r.m.StateID(at, g), Generation: g, Checkpoint: fmt.Sprintf("vmsync-%s-%d", r.m.Pair, g), Time: at,
		Kind: "full", Consistency: "crash", DomainXML: store.XMLName(g),
		Disks: []store.Disk{{Name: "vda", Size: diskSize, Image: images[len(images)-1]}},
	})
	r.m.States = states[max(0, len(states)-1-before):]
	r.m.DropUnneeded()
	must(r.t, r.f.Save(r.m))
	r.rec.Mark(fmt.Sprint(g))
}

// next spends a generation, as a run does before anything bears its name.
func (r *replica) next() int64 {
	r.t.Helper()
	r.m.LastGeneration++
	must(r.t, r.f.Save(r.m))
	return r.m.LastGeneration
}

// check opens a replica's folder after a power cut, as the next run does, and compares
// each state with what it was. It returns the folder, locked, and the manifest, which is
// nil where none was ever promised.
func (r *replica) check(c Crash, disk func(f *store.Folder, s store.State) error) (*store.Folder, *store.Manifest, error) {
	f, err := store.Lock(c.Dir, domain)
	if err != nil {
		return nil, nil, err
	}
	m, err := f.Load()
	if errors.Is(err, fs.ErrNotExist) && len(c.Marks) == 0 {
		_, err = f.Create(domain)
		return f, nil, err
	}
	if err != nil {
		return f, nil, err
	}
	var head int64
	if s := m.Head(); s != nil {
		head = s.Generation
	}
	if len(c.Marks) > 0 {
		var promised int64
		if _, err := fmt.Sscan(c.Marks[len(c.Marks)-1], &promised); err != nil {
			return f, nil, err
		}
		if head < promised {
			return f, nil, fmt.Errorf("state %d was promised, the head is %d", promised, head)
		}
	}
	debris, err := f.Debris(m)
	if err != nil {
		return f, nil, err
	}
	if err := f.Remove(debris...); err != nil {
		return f, nil, err
	}
	for name := range m.Files() {
		if m.Step != nil && (name == m.Step.Onto || name == store.IndexName(m.Step.Onto)) {
			continue // it may have taken the place of the image over it already
		}
		b, err := os.ReadFile(f.Path(name))
		if err != nil {
			return f, nil, err
		}
		if want, ok := r.contents[name]; ok && !bytes.Equal(b, want) {
			return f, nil, fmt.Errorf("%s is not what it was when the manifest first named it", name)
		}
	}
	for _, s := range m.States {
		if err := disk(f, s); err != nil {
			return f, nil, fmt.Errorf("state %d: %w", s.Generation, err)
		}
	}
	return f, m, nil
}

// TestStoreSurvivesPowerLoss makes and drops states whose images are a few random
// bytes.
func TestStoreSurvivesPowerLoss(t *testing.T) {
	r := newReplica(t)
	rnd := rand.New(rand.NewPCG(1, 0))
	for range 6 {
		g := r.next()
		image := store.ImageName("vda", g)
		content := make([]byte, 3000+rnd.IntN(20000))
		for i := range content {
			content[i] = byte(rnd.Uint32())
		}
		// As qemu does, which syncs nothing by itself.
		must(t, os.WriteFile(r.f.Path(image), content, 0o600))
		r.contents[image] = content
		before := r.m.Files()
		r.state(rnd.IntN(3), image)
		for name := range r.m.Files() {
			delete(before, name)
		}
		for name := range before {
			must(t, r.f.Remove(name))
		}
	}
	pin, err := store.PinState(t.Context(), r.rec.Dir(), domain, store.Latest, "test")
	must(t, err)
	if len(r.m.States) > 1 {
		_, err = r.f.Unlist(t.Context(), r.m, r.m.States[0].Generation, r.m.Head().Generation)
		must(t, err)
	}
	pin.Release()

	r.stop().Explore(t, Options{Crashes: 700}, func(c Crash) error {
		f, m, err := r.check(c, func(*store.Folder, store.State) error { return nil })
		if f == nil {
			return err
		}
		defer f.Unlock()
		if err != nil || m == nil {
			return err
		}
		if held, err := f.Pinned(t.Context()); err != nil || len(held) > 0 {
			return fmt.Errorf("pins: %v, %w", held, err)
		}
		m.LastGeneration++ // and goes on
		return f.Save(m)
	})
}

// run runs a program that has to succeed.
func run(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// TestImagesSurvivePowerLoss makes two states of real images, the second an overlay over the
// first, and merges them; what a power cut leaves has to read as the state that the manifest
// names, and so it has when the merge has been done again.
func TestImagesSurvivePowerLoss(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this test needs %s", tool)
		}
	}
	r := newReplica(t)
	g1 := r.next()
	base := store.ImageName("vda", g1)
	must(t, qemu.Create(t.Context(), r.f.Path(base), diskSize))
	r.fill(g1, base, "write -P 1 0 700k", "write -P 2 2M 300k", "write -P 3 3500k 64k")
	r.state(0, base)

	g2 := r.next()
	top := store.ImageName("vda", g2)
	must(t, qemu.CreateOverlay(t.Context(), r.f.Path(top), filepath.Base(base), diskSize))
	r.fill(g2, top, "write -P 4 100k 100k", "write -z 2M 128k", "write -P 5 1M 200k", "discard 3500k 64k")
	r.state(0, base, top)

	must(t, r.merge(t, r.f, r.m))
	r.rec.Mark(fmt.Sprint(g2))

	r.stop().Explore(t, Options{Crashes: 100}, func(c Crash) error {
		f, m, err := r.check(c, r.compare)
		if f == nil {
			return err
		}
		defer f.Unlock()
		if err != nil || m == nil || m.Head() == nil || len(m.Images) == 1 {
			return err
		}
		if err := r.merge(t, f, m); err != nil {
			return err
		}
		return r.compare(f, *m.Head())
	})
}

// fill writes to an image with qemu-io, and keeps what it reads as then.
func (r *replica) fill(generation int64, image string, commands ...string) {
	r.t.Helper()
	argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range commands {
		argv = append(argv, "-c", c)
	}
	must(r.t, run(append(argv, r.f.Path(image))...))
	must(r.t, run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", r.f.Path(image), r.raw(generation)))
}

func (r *replica) raw(generation int64) string {
	return filepath.Join(r.refs, fmt.Sprintf("%d.raw", generation))
}

// compare compares a state's disk with what it was.
func (r *replica) compare(f *store.Folder, s store.State) error {
	return run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", f.Path(s.Disks[0].Image), r.raw(s.Generation))
}

// merge merges the head's overlay into its base.
func (r *replica) merge(t *testing.T, f *store.Folder, m *store.Manifest) error {
	images := imagetree.Tree{Folder: f, Manifest: m, Own: func(string) error { return nil }}
	_, err := images.Reshape(t.Context())
	*m = *images.Manifest
	return err
}
