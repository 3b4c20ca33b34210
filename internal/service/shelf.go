package service

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/api"
	"vmsync/internal/store"
)

// Bounds of what stores are asked.
const (
	// sizeAge is how long the size of a replica's images is taken for true. Booted or merged
	// they change without their manifest.
	sizeAge = 10 * time.Second
	// storePatience is how long anybody waits for stores. After that counts what was known.
	storePatience = 2 * time.Second
	// storeLooks is how many looks at one store are under way at once: a disk that hangs
	// keeps no more than so many.
	storeLooks = 4
)

// shelf remembers what stores say, so that asking for a hundred replicas each second reads
// none that did not change, and a disk that hangs holds nobody up for long. Its methods may
// be called from several goroutines. The zero value is ready.
type shelf struct {
	renew func(r replica, before stored, now time.Time) (stored, error) // nil: renew

	mu       sync.Mutex
	replicas map[replica]stored
	stores   map[string]api.Store         // by path
	looks    map[string]map[look]struct{} // that are under way, by store
}

// replica is one of a store's.
type replica struct{ store, domain string }

// look is a look at a store. It is closed when that has ended.
type look chan struct{}

// stored is what a store says of a replica.
type stored struct {
	manifest os.FileInfo // it is only ever replaced as a whole
	role     string
	states   int
	images   []string
	size     int64 // of the images, on disk, in bytes
	measured time.Time
}

// fill adds to machines what stores say of them, and tells of the stores themselves, by
// path. Where a store says nothing, as before the first sync, it stays unknown.
func (s *shelf) fill(ctx context.Context, machines []api.Machine, now time.Time) []api.Store {
	asked := map[string][]replica{}
	for i := range machines {
		r := keptOf(&machines[i])
		asked[r.store] = append(asked[r.store], r)
	}
	var looks []look
	for dir, replicas := range asked {
		if l := s.begin(dir, replicas, now); l != nil {
			looks = append(looks, l)
		}
	}
	await(ctx, looks)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range machines {
		if got, known := s.replicas[keptOf(&machines[i])]; known {
			machines[i].Role, machines[i].States, machines[i].Size = got.role, &got.states, &got.size
		}
	}
	var stores []api.Store
	for dir := range asked {
		if st, known := s.stores[dir]; known {
			stores = append(stores, st)
		}
	}
	slices.SortFunc(stores, func(a, b api.Store) int { return cmp.Compare(a.Path, b.Path) })
	return stores
}

func keptOf(m *api.Machine) replica { return replica{m.Store, m.TargetDomain} }

// keep forgets all but these machines.
func (s *shelf) keep(machines []api.Machine) {
	replicas, stores := map[replica]bool{}, map[string]bool{}
	for i := range machines {
		r := keptOf(&machines[i])
		replicas[r], stores[r.store] = true, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.replicas {
		if !replicas[r] {
			delete(s.replicas, r)
		}
	}
	for dir := range s.stores {
		if !stores[dir] {
			delete(s.stores, dir)
		}
	}
}

// wait waits for the looks that are under way. Only a disk that hangs outlasts its patience.
func (s *shelf) wait() {
	s.mu.Lock()
	var all []look
	for _, looks := range s.looks {
		for l := range looks {
			all = append(all, l)
		}
	}
	s.mu.Unlock()
	await(context.Background(), all)
}

// await waits for looks, with patience.
func await(ctx context.Context, looks []look) {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	for _, l := range looks {
		select {
		case <-l:
		case <-ctx.Done():
			return
		}
	}
}

// begin begins a look at replicas of a store; nil if too many are under way.
func (s *shelf) begin(dir string, replicas []replica, now time.Time) look {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.looks[dir]) >= storeLooks {
		return nil
	}
	if s.looks == nil {
		s.replicas, s.stores, s.looks = map[replica]stored{}, map[string]api.Store{}, map[string]map[look]struct{}{}
	}
	if s.looks[dir] == nil {
		s.looks[dir] = map[look]struct{}{}
	}
	l := make(look)
	s.looks[dir][l] = struct{}{}
	go func() {
		defer close(l)
		for _, r := range replicas {
			s.one(r, now)
		}
		s.room(dir)
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.looks[dir], l); len(s.looks[dir]) == 0 {
			delete(s.looks, dir)
		}
	}()
	return l
}

// one looks at one replica. What cannot be read is not known.
func (s *shelf) one(r replica, now time.Time) {
	s.mu.Lock()
	got := s.replicas[r]
	s.mu.Unlock()
	ask := s.renew
	if ask == nil {
		ask = renew
	}
	got, err := ask(r, got, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.replicas, r)
		return
	}
	s.replicas[r] = got
}

// room looks how much room there is where a store is.
func (s *shelf) room(dir string) {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.stores, dir)
		return
	}
	block := uint64(fs.Frsize)
	s.stores[dir] = api.Store{Path: dir, Size: fs.Blocks * block, Avail: fs.Bavail * block}
}

// renew looks whether what was known of a replica still holds.
func renew(r replica, s stored, now time.Time) (stored, error) {
	folder, err := store.Unlocked(r.store, r.domain)
	if err != nil {
		return s, err
	}
	info, err := os.Stat(filepath.Join(r.store, r.domain, store.ManifestName))
	if err != nil {
		return s, err
	}
	if s.manifest == nil || !os.SameFile(info, s.manifest) || !info.ModTime().Equal(s.manifest.ModTime()) {
		m, err := folder.Load()
		if err != nil {
			return s, err
		}
		s = stored{manifest: info, role: string(m.Role), states: len(m.States)}
		for _, img := range m.Images {
			s.images = append(s.images, img.Name)
		}
	}
	if age := now.Sub(s.measured); age < 0 || age >= sizeAge {
		if s.size, err = folder.Allocated(s.images...); err != nil {
			return s, err
		}
		s.measured = now
	}
	return s, nil
}
