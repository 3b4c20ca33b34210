package fusefs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

// replica is one replica of the store, as its manifest says it is at this moment.
type replica struct {
	tree   *tree
	domain string

	mu  sync.Mutex
	now *view
}

// view is a manifest as it was read.
type view struct {
	*store.Manifest
	stamp stamp
	byID  map[string]*store.State
}

// stamp tells one manifest from the next, which is another file.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stamp{st.Ino, st.Size, time.Unix(st.Mtim.Unix())}, nil
}

func (r *replica) path(name string) string {
	return filepath.Join(r.tree.options.Store, r.domain, name)
}

// view reads the manifest, if it has changed. Where the replica has gone the error is
// [filesystem.ErrNotExist].
func (r *replica) view() (*view, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := stampOf(r.path(store.ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		r.change(nil)
		return nil, filesystem.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if r.now != nil && r.now.stamp == now {
		return r.now, nil
	}
	// If it is replaced between the two, what is read is newer than the stamp, and is read
	// again the next time.
	m, err := store.Read(r.tree.options.Store, r.domain)
	if err != nil {
		return nil, err
	}
	v := &view{Manifest: m, stamp: now, byID: make(map[string]*store.State, len(m.States))}
	for i := range v.States {
		v.byID[v.States[i].ID] = &v.States[i]
	}
	r.change(v)
	return v, nil
}

// change takes a new view, and has the kernel forget the states that are no more.
func (r *replica) change(v *view) {
	if r.now != nil {
		var gone []string
		for id := range r.now.byID {
			if v == nil || v.byID[id] == nil {
				gone = append(gone, id)
			}
		}
		r.tree.vanished(r, gone)
	}
	r.now = v
}

// look reads the manifest again if it has ever been read.
func (r *replica) look() {
	r.mu.Lock()
	known := r.now != nil
	r.mu.Unlock()
	if known {
		_, _ = r.view() // who looks into it is told
	}
}

// state returns a state by its id, and the view that it is of.
func (r *replica) state(id string) (*store.State, *view, error) {
	v, err := r.view()
	if err != nil {
		return nil, nil, err
	}
	s := v.byID[id]
	if s == nil {
		return nil, nil, filesystem.ErrNotExist
	}
	return s, v, nil
}

// aged returns the newest state that is at least that old, or nil.
func (v *view) aged(age time.Duration, now time.Time) *store.State {
	var found *store.State
	for i := range v.States {
		s := &v.States[i]
		if !s.Time.After(now.Add(-age)) && (found == nil || !s.Time.Before(found.Time)) {
			found = s
		}
	}
	return found
}

// lists says whether the manifest listed a state when it was last read.
func (r *replica) lists(id string, generation int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil {
		return false
	}
	s := r.now.byID[id]
	return s != nil && s.Generation == generation
}
