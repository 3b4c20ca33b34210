package service

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/store"
)

// sizeAge is how long the size of a replica's images is taken for true. Booted or merged
// they change without their manifest.
const sizeAge = 10 * time.Second

// shelf remembers what the store says of replicas, so that asking for a hundred of them
// each second reads none that did not change. Its methods may be called from several
// goroutines. The zero value is ready.
type shelf struct {
	mu    sync.Mutex
	known map[[2]string]stored // by store and domain
}

// stored is what a store says of a replica.
type stored struct {
	manifest os.FileInfo // it is only ever replaced as a whole
	role     string
	states   int
	images   []string
	size     int64 // of the images, on disk, in bytes
	measured time.Time
}

// add adds what the store says to a machine's status; where it says nothing, as before the
// first sync, it stays unknown.
func (s *shelf) add(m *api.Machine, now time.Time) {
	if got, ok := s.look(m.Store, m.TargetDomain, now); ok {
		m.Role, m.States, m.Size = got.role, &got.states, &got.size
	}
}

func (s *shelf) look(storeDir, domain string, now time.Time) (stored, bool) {
	key := [2]string{storeDir, domain}
	s.mu.Lock()
	got := s.known[key]
	s.mu.Unlock()
	fresh, err := got.renew(storeDir, domain, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.known, key)
		return stored{}, false
	}
	if s.known == nil {
		s.known = map[[2]string]stored{}
	}
	s.known[key] = fresh
	return fresh, true
}

// renew looks whether what was known still holds.
func (s stored) renew(storeDir, domain string, now time.Time) (stored, error) {
	folder, err := store.Unlocked(storeDir, domain)
	if err != nil {
		return s, err
	}
	info, err := os.Stat(filepath.Join(storeDir, domain, store.ManifestName))
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
