package metrics

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/api"
	"vmsync/internal/store"
)

// replica names a replica: a domain of a store.
type replica struct{ store, domain string }

// holding is what a store holds of a replica.
type holding struct {
	states int
	bytes  int64 // on disk
}

// filesystem is where a store is.
type filesystem struct{ size, avail uint64 } // bytes

// stored is what stores hold. It does not change.
type stored struct {
	replicas    map[replica]holding
	filesystems map[string]filesystem // by store
}

// lookAt looks at stores. What cannot be read is left out.
func lookAt(all []replica) *stored {
	s := &stored{replicas: map[replica]holding{}, filesystems: map[string]filesystem{}}
	for _, r := range all {
		if _, looked := s.filesystems[r.store]; !looked {
			var fs unix.Statfs_t
			if unix.Statfs(r.store, &fs) == nil {
				block := uint64(fs.Frsize)
				s.filesystems[r.store] = filesystem{size: fs.Blocks * block, avail: fs.Bavail * block}
			}
		}
		if h, err := look(r); err == nil {
			s.replicas[r] = h
		}
	}
	return s
}

func look(r replica) (holding, error) {
	folder, err := store.Unlocked(r.store, r.domain)
	if err != nil {
		return holding{}, err
	}
	manifest, err := folder.Load()
	if err != nil {
		return holding{}, err
	}
	files := manifest.Files()
	images, err := folder.Images()
	if err != nil {
		return holding{}, err
	}
	for _, name := range images {
		files[name] = true
	}
	bytes, err := folder.Allocated(slices.Collect(maps.Keys(files))...)
	return holding{len(manifest.States), bytes}, err
}

// How often stores are looked at, and how long anybody waits for that. A look at 100 machines
// with 24 states each takes some tenths of a second of a processor; a disk that hangs holds
// up a look, and nothing but that.
const (
	lookEvery    = time.Minute
	lookPatience = 2 * time.Second
)

// stores knows what stores hold, as of a short while ago. Its methods may be called from
// several goroutines.
type stores struct {
	look func([]replica) *stored

	mu      sync.Mutex
	known   *stored       // as of the last look
	at      time.Time     // when that ended
	looking chan struct{} // closed when the look that is under way has ended; nil if none is
}

// of tells what is known of a status's replicas, and has them looked at again if that was
// long ago. Only the first look is waited for. Nil is nothing yet.
func (s *stores) of(ctx context.Context, st *api.Status) *stored {
	s.mu.Lock()
	if s.looking == nil && (s.known == nil || time.Since(s.at) >= lookEvery) {
		s.begin(st)
	}
	known, looking := s.known, s.looking
	s.mu.Unlock()
	if known == nil {
		s.await(ctx, looking)
		s.mu.Lock()
		known = s.known
		s.mu.Unlock()
	}
	return known
}

// await waits for a look, if there is one, with patience.
func (s *stores) await(ctx context.Context, looking <-chan struct{}) {
	if looking == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	select {
	case <-looking:
	case <-ctx.Done():
	}
}

// begin begins a look; the lock is held.
func (s *stores) begin(st *api.Status) {
	var all []replica
	for i := range st.Machines {
		all = append(all, replica{st.Machines[i].Store, st.Machines[i].TargetDomain})
	}
	done := make(chan struct{})
	s.looking = done
	go func() {
		defer close(done)
		known := s.look(all)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.known, s.at, s.looking = known, time.Now(), nil
	}()
}

// wait waits for a look that is under way. Only a disk that hangs outlasts its patience.
func (s *stores) wait() {
	s.mu.Lock()
	looking := s.looking
	s.mu.Unlock()
	s.await(context.Background(), looking)
}
