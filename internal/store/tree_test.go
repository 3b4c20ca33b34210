package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// line is a manifest of one disk with so many states, each an image over the last.
func line(states int) *Manifest {
	m := &Manifest{Version: Version, Pair: "3f2a9c1b", TargetDomain: "vm1", Role: RoleReplica}
	for range states {
		grow(m)
	}
	return m
}

// grow adds a state with an image over the head's.
func grow(m *Manifest) {
	m.LastGeneration++
	g := m.LastGeneration
	img := Image{Name: ImageName("vda", g), Disk: "vda", Size: 1 << 20}
	if head := m.Head(); head != nil {
		img.Backing = head.Disks[0].Image
	}
	m.Images = append(slices.Clone(m.Images), img)
	at := sample().States[0].Time
	m.States = append(slices.Clone(m.States), State{ID: fmt.Sprint("s", g), Generation: g, Checkpoint: fmt.Sprint("c", g), Time: at, DomainXML: XMLName(g),
		Disks: []Disk{{Name: "vda", Size: 1 << 20, Image: img.Name}}})
}

// forget takes states off the list.
func forget(m *Manifest, generations ...int64) {
	m.States = slices.DeleteFunc(slices.Clone(m.States), func(s State) bool { return slices.Contains(generations, s.Generation) })
}

// content is what an image of line reads as: on the tree's own terms, the newest
// generation of each image in its chain. A model of the files is changed by the steps,
// and must read the same throughout.
type model map[string]map[int64]bool // image: the generations whose changes it holds itself

func newModel(m *Manifest) model {
	files := model{}
	for _, img := range m.Images {
		files[img.Name] = map[int64]bool{img.generation(): true}
	}
	return files
}

// read collects the generations that an image shows.
func (f model) read(m *Manifest, name string) []int64 {
	var all []int64
	for _, img := range m.Chain(name) {
		for g := range f[img.Name] {
			if !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	slices.Sort(all)
	return all
}

// settle does all that is to be done and checks every state after each step.
func settle(t *testing.T, m *Manifest, files model) (steps []Step) {
	t.Helper()
	want := map[string][]int64{}
	for _, s := range m.States {
		want[s.Disks[0].Image] = files.read(m, s.Disks[0].Image)
	}
	for {
		m.DropUnneeded()
		step := m.NextStep()
		if step == nil {
			break
		}
		m.Step = step
		if err := m.check(); err != nil {
			t.Fatalf("%+v under way: %v", *step, err)
		}
		if got := m.NextStep(); *got != *step {
			t.Fatalf("%+v is under way, and %+v would be begun", *step, *got)
		}
		switch step.Op {
		case StepMerge:
			merged := map[int64]bool{}
			for _, name := range []string{step.Onto, step.Image} {
				for g := range files[name] {
					merged[g] = true
				}
			}
			files[step.Image] = merged
			delete(files, step.Onto)
		case StepShorten:
			chain := m.Chain(step.Image)
			at := slices.IndexFunc(chain, func(i Image) bool { return i.Name == step.Onto })
			all := map[int64]bool{}
			for _, img := range chain[at+1:] {
				for g := range files[img.Name] {
					all[g] = true
				}
			}
			files[step.Image] = all
		}
		m.Finish(*step)
		if m.Step != nil {
			t.Fatal("a step that is finished is under way")
		}
		if err := m.check(); err != nil {
			t.Fatalf("after %+v: %v", *step, err)
		}
		for name, w := range want {
			if got := files.read(m, name); !slices.Equal(got, w) {
				t.Fatalf("after %+v %s reads %v, not %v", *step, name, got, w)
			}
		}
		if steps = append(steps, *step); len(steps) > 10000 {
			t.Fatal("it does not end")
		}
	}
	return steps
}

func names(m *Manifest) (all []string) {
	for _, img := range m.Images {
		all = append(all, img.Name)
	}
	return all
}

func TestMergesOldestFirst(t *testing.T) {
	m := line(5)
	files := newModel(m)
	forget(m, 1, 2, 4)
	want := []Step{{StepMerge, ImageName("vda", 2), ImageName("vda", 1)}, {StepMerge, ImageName("vda", 3), ImageName("vda", 2)}, {StepMerge, ImageName("vda", 5), ImageName("vda", 4)}}
	if diff := cmp.Diff(want, settle(t, m, files)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Image{{Name: ImageName("vda", 3), Disk: "vda", Size: 1 << 20}, {Name: ImageName("vda", 5), Disk: "vda", Size: 1 << 20, Backing: ImageName("vda", 3)}}, m.Images); diff != "" {
		t.Error(diff)
	}
}

func TestOneStateIsOneImage(t *testing.T) {
	m := line(20)
	files := newModel(m)
	forget(m, m.generationsBut(20)...)
	settle(t, m, files)
	if diff := cmp.Diff([]string{ImageName("vda", 20)}, names(m)); diff != "" {
		t.Error(diff)
	}
}

func (m *Manifest) generationsBut(keep ...int64) (all []int64) {
	for _, s := range m.States {
		if !slices.Contains(keep, s.Generation) {
			all = append(all, s.Generation)
		}
	}
	return all
}

func TestWhatIsNeededIsNotMerged(t *testing.T) {
	merge := func(m *Manifest) *Step { m.DropUnneeded(); return m.NextStep() }
	for name, need := range map[string]func(*Manifest){
		"state":       func(*Manifest) {},
		"run overlay": func(m *Manifest) { forget(m, 1); m.Run = []RunOverlay{{Disk: "vda", Base: ImageName("vda", 1)}} },
		"staged": func(m *Manifest) {
			forget(m, 1)
			m.Staged = &Staged{Disks: []StagedDisk{{Backing: ImageName("vda", 1)}}}
		},
		"two above":        func(m *Manifest) { forget(m, 1); m.Images[2].Backing = m.Images[0].Name },
		"damaged":          func(m *Manifest) { forget(m, 1); m.Images[0].Damaged = "bad" },
		"damaged above it": func(m *Manifest) { forget(m, 1); m.Images[1].Damaged = "bad" },
	} {
		m := line(3)
		need(m)
		if s := merge(m); s != nil || len(m.Images) != 3 {
			t.Errorf("%s: step %+v, images %v", name, s, names(m))
		}
	}
	m := line(3)
	forget(m, 1)
	if merge(m) == nil {
		t.Error("nothing needs it, and it is not merged")
	}
}

func TestImagesThatNothingNeedsAreDropped(t *testing.T) {
	m := line(4)
	forget(m, 3, 4)
	if !m.DropUnneeded() || len(m.Images) != 2 {
		t.Errorf("left: %v", names(m))
	}
	if m.DropUnneeded() {
		t.Error("there is more")
	}
}

func TestChainsStayShort(t *testing.T) {
	m, files := line(0), model{}
	depth, held := 0, 0
	for range 500 {
		grow(m)
		head := m.Head()
		files[head.Disks[0].Image] = map[int64]bool{head.Generation: true}
		if step := m.NextStep(); step != nil || len(m.States) < 2*MaxChain {
			settle(t, m, files)
		}
		depth = max(depth, len(m.Chain(head.Disks[0].Image)))
	}
	for _, f := range files {
		held += len(f)
	}
	if depth > MaxChain {
		t.Errorf("a chain has %d images", depth)
	}
	// Each change is held once in its own image, and again in milestones.
	if held > 3*len(m.States) {
		t.Errorf("%d states hold %d changes", len(m.States), held)
	}
}

func TestAnyPruningKeepsWhatIsListed(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		m, files := line(0), model{}
		for range 120 {
			grow(m)
			head := m.Head()
			files[head.Disks[0].Image] = map[int64]bool{head.Generation: true}
			for range rnd.IntN(3) {
				if i := rnd.IntN(len(m.States)); i < len(m.States)-1 && rnd.IntN(4) > 0 {
					forget(m, m.States[i].Generation)
				}
			}
			settle(t, m, files)
		}
		forget(m, m.generationsBut(m.Head().Generation)...)
		settle(t, m, files)
		if len(m.Images) != 1 {
			t.Errorf("seed %d: one state has %d images", seed, len(m.Images))
		}
	}
}

func TestDamageIsThatOfTheChain(t *testing.T) {
	m := line(4)
	m.Images[2].Damaged = "block 7 differs"
	for i, want := range []bool{false, false, true, true} {
		if got := m.Damage(&m.States[i]) != ""; got != want {
			t.Errorf("state %d: %v", i+1, got)
		}
	}
	if s := m.Sound(); s.Generation != 2 {
		t.Errorf("the newest sound state is %d", s.Generation)
	}
	m.Images[0].Damaged = "gone"
	if s := m.Sound(); s != nil {
		t.Errorf("state %d is sound", s.Generation)
	}
}
