package store

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// Listing is what somebody who looks sees of a replica.
type Listing struct {
	Manifest *Manifest
	States   []Listed // as in the manifest: oldest first
	// Allocated is how many bytes on disk all images take.
	Allocated int64
}

// Listed is one state of a listing.
type Listed struct {
	*State
	Head bool
	Size int64 // of all its disks, in bytes
	// Own is how many bytes on disk those images take that the state needs and no older
	// one does. The Own of all states together is what the images of the states take.
	// It is not what deleting the state would free: newer states may need them, too.
	Own     int64
	Damaged string   // what is known to be wrong with it; empty if nothing is
	Pinned  []Holder // who uses it
}

// List looks at a replica without its lock, with one look at each image's size. A store
// without such a replica gives an error for which errors.Is(err, fs.ErrNotExist) holds.
func List(ctx context.Context, storeDir, domain string) (*Listing, error) {
	m, err := Read(storeDir, domain)
	if err != nil {
		return nil, err
	}
	f := &Folder{dir: filepath.Join(storeDir, domain)}
	held, err := f.Holders(ctx)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	l := &Listing{Manifest: m}
	allocated := make(map[string]int64, len(m.Images))
	for _, img := range m.Images {
		if allocated[img.Name], err = f.Allocated(img.Name); err != nil {
			return nil, err
		}
		l.Allocated += allocated[img.Name]
	}
	own := m.own(allocated)
	damage := m.damages()
	for i := range m.States {
		s := &m.States[i]
		state := Listed{State: s, Head: i == len(m.States)-1, Own: own[i], Damaged: damage(s), Pinned: held[s.Generation]}
		for _, d := range s.Disks {
			state.Size += d.Size
		}
		l.States = append(l.States, state)
	}
	return l, nil
}

// own gives for each state how many bytes those images take that it needs and no older
// state does, from what each image takes.
func (m *Manifest) own(allocated map[string]int64) []int64 {
	below := make(map[string]string, len(m.Images))
	for _, img := range m.Images {
		below[img.Name] = img.Backing
	}
	seen := make(map[string]bool, len(m.Images))
	own := make([]int64, len(m.States))
	for i, s := range m.States {
		for _, d := range s.Disks {
			for name := d.Image; name != "" && !seen[name]; name = below[name] {
				seen[name] = true
				own[i] += allocated[name]
			}
		}
	}
	return own
}

// damages is [Manifest.Damage] for many states.
func (m *Manifest) damages() func(*State) string {
	for _, img := range m.Images {
		if img.Damaged != "" {
			return m.Damage
		}
	}
	return func(*State) string { return "" }
}

// Newest is the time of the newest state, zero where there is none.
func (l *Listing) Newest() time.Time {
	if head := l.Manifest.Head(); head != nil {
		return head.Time
	}
	return time.Time{}
}
