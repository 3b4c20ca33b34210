package store

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The images of a disk form a tree: an image lies over at most one other, and a state
// names the one that reads as its disk. What an image reads as never changes while the
// manifest names it. What changes is how: see [Step].

// Image is one image of the tree.
type Image struct {
	Name    string `json:"name"` // see [ImageName]
	Disk    string `json:"disk"`
	Size    int64  `json:"size"`              // virtual size in bytes
	Backing string `json:"backing,omitempty"` // name of the image it lies over
	// Milestone is set on an image that lies directly over a much older one; see
	// [StepShorten].
	Milestone bool `json:"milestone,omitempty"`
	// Damaged says what was found wrong with the image itself, not with those it lies
	// over. It is never built on, merged or booted.
	Damaged string `json:"damaged,omitempty"`
}

// generation is the number in the image's name.
func (i *Image) generation() int64 {
	parts := strings.Split(i.Name, ".")
	if len(parts) != 3 {
		return 0
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Ops of a [Step].
const (
	// StepMerge writes an image's own blocks into the one it lies over, which nothing
	// else needs any more, and puts that in the image's place, under its name.
	StepMerge = "merge"
	// StepShorten copies into an image what lies between it and a far older one, and
	// has it lie over that. It costs space, and keeps chains short.
	StepShorten = "shorten"
)

// Step is a change of the tree that is under way. It is in the manifest from before the
// first byte changes until after the last. Doing it again from the start is always right.
type Step struct {
	Op    string `json:"op"`
	Image string `json:"image"`
	Onto  string `json:"onto"`
}

// Staged is what a run has received that ended before it could commit.
type Staged struct {
	Generation int64        `json:"generation"`
	Disks      []StagedDisk `json:"disks"`
}

// StagedDisk is one disk of it.
type StagedDisk struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"` // bytes
	Image   string `json:"image"`
	Backing string `json:"backing,omitempty"`
	// Parent is the checkpoint since which the source told what had changed; empty where
	// it looked at all of the disk.
	Parent string `json:"parent,omitempty"`
}

// MaxChain is how many images a chain may have before the head's is shortened. qemu
// takes about 70 ms to open so many; its time goes with the square of the number.
const MaxChain = 64

// maxSpine is how many of the images under a milestone may be milestones themselves.
const maxSpine = MaxChain / 4

// Image returns the image of that name, or nil.
func (m *Manifest) Image(name string) *Image {
	for i := range m.Images {
		if m.Images[i].Name == name {
			return &m.Images[i]
		}
	}
	return nil
}

// Chain returns an image and those it lies over, base first.
func (m *Manifest) Chain(name string) []Image {
	byName := make(map[string]*Image, len(m.Images))
	for i := range m.Images {
		byName[m.Images[i].Name] = &m.Images[i]
	}
	var chain []Image
	for img := byName[name]; img != nil && len(chain) <= len(m.Images); img = byName[img.Backing] {
		chain = append(chain, *img)
	}
	slices.Reverse(chain)
	return chain
}

// Indexes returns the block indexes of an image's chain, base first.
func (m *Manifest) Indexes(name string) []string {
	var names []string
	for _, img := range m.Chain(name) {
		names = append(names, IndexName(img.Name))
	}
	return names
}

// Damage says what is wrong with a state, "" if nothing is known to be.
func (m *Manifest) Damage(s *State) string {
	if damage := m.ImageDamage(s); damage != "" {
		return damage
	}
	return s.Damaged
}

// ImageDamage is [Manifest.Damage] of the state's disks alone: of what a new state can be
// built on.
func (m *Manifest) ImageDamage(s *State) string {
	for i := range s.Disks {
		if damage := m.DiskDamage(&s.Disks[i]); damage != "" {
			return damage
		}
	}
	return ""
}

// DiskDamage says what is wrong with one disk of a state, "" if nothing is known to be.
func (m *Manifest) DiskDamage(d *Disk) string {
	for _, img := range m.Chain(d.Image) {
		if img.Damaged != "" {
			return "disk " + d.Name + ": " + img.Name + ": " + img.Damaged
		}
	}
	return ""
}

// Sound returns the newest state that is not known to be damaged, or nil.
func (m *Manifest) Sound() *State {
	for i := len(m.States) - 1; i >= 0; i-- {
		if m.Damage(&m.States[i]) == "" {
			return &m.States[i]
		}
	}
	return nil
}

// needed is the set of images that something other than an image refers to.
func (m *Manifest) needed() map[string]bool {
	needed := map[string]bool{}
	for _, s := range m.States {
		for _, d := range s.Disks {
			needed[d.Image] = true
		}
	}
	for _, r := range m.Run {
		needed[r.Base] = true
	}
	if m.Staged != nil {
		for _, d := range m.Staged.Disks {
			needed[d.Backing] = true
		}
	}
	return needed
}

// children maps each image to those that lie directly over it.
func (m *Manifest) children() map[string][]string {
	over := map[string][]string{}
	for _, img := range m.Images {
		if img.Backing != "" {
			over[img.Backing] = append(over[img.Backing], img.Name)
		}
	}
	return over
}

// DropUnneeded takes out of the manifest the images that nothing needs, which makes
// their files debris, and says whether there were any. Call it only with no step under
// way.
func (m *Manifest) DropUnneeded() bool {
	needed, over := m.needed(), m.children()
	before := len(m.Images)
	for i := len(m.Images) - 1; i >= 0; i-- { // an image comes after the one it lies over
		img := m.Images[i]
		if needed[img.Name] || len(over[img.Name]) > 0 {
			continue
		}
		over[img.Backing] = slices.DeleteFunc(slices.Clone(over[img.Backing]), func(n string) bool { return n == img.Name })
		m.Images = slices.Delete(slices.Clone(m.Images), i, i+1)
	}
	return len(m.Images) < before
}

// NextStep decides on the next change of the tree: the one under way, or a chain to
// shorten, or the oldest image that can be merged; nil when all is as it should be. Of
// what is damaged it leaves everything as it is.
func (m *Manifest) NextStep() *Step {
	if m.Step != nil {
		return m.Step
	}
	if s := m.nextShorten(); s != nil {
		return s
	}
	return m.nextMerge()
}

// nextShorten looks for a disk of the head under which the chain has become too long.
func (m *Manifest) nextShorten() *Step {
	head := m.Head()
	if head == nil {
		return nil
	}
	for _, d := range head.Disks {
		chain := m.Chain(d.Image)
		if len(chain) <= MaxChain || m.Damage(&State{Disks: []Disk{d}}) != "" {
			continue
		}
		onto := chain[0].Name
		for i := len(chain) - 2; i > 0; i-- {
			if chain[i].Milestone {
				if i < maxSpine {
					onto = chain[i].Name
				}
				break
			}
		}
		return &Step{Op: StepShorten, Image: d.Image, Onto: onto}
	}
	return nil
}

// nextMerge looks for an image that only the one over it needs.
func (m *Manifest) nextMerge() *Step {
	needed, over := m.needed(), m.children()
	byAge := slices.SortedFunc(slices.Values(m.Images), func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.generation(), b.generation()), cmp.Compare(a.Name, b.Name))
	})
	for _, img := range byAge {
		if needed[img.Name] || len(over[img.Name]) != 1 || img.Damaged != "" {
			continue
		}
		if child := m.Image(over[img.Name][0]); child.Damaged == "" {
			return &Step{Op: StepMerge, Image: child.Name, Onto: img.Name}
		}
	}
	return nil
}

// Finish changes the tree as the step says and ends it. The manifest's images are
// replaced, not changed in place.
func (m *Manifest) Finish(s Step) {
	images := slices.Clone(m.Images)
	m.Step, m.Images = nil, images
	img := m.Image(s.Image)
	switch s.Op {
	case StepMerge:
		onto := m.Image(s.Onto)
		img.Backing, img.Milestone = onto.Backing, onto.Milestone
		m.Images = slices.DeleteFunc(images, func(i Image) bool { return i.Name == s.Onto })
	case StepShorten:
		img.Backing, img.Milestone = s.Onto, true
	}
}
