package fusefs

import (
	"slices"
	"sync"
	"time"
)

// sessions are all the states that were ever looked into and that are still there, or
// still known to the kernel.
type sessions struct {
	max int // how many may be open, but for those that somebody has files of open

	mu    sync.RWMutex
	all   map[sessionKey]*session
	spans map[uint32]*span // by their numbers
	last  uint32           // number given out
}

// sessionKey names a state for good: a replica that was deleted and made anew counts its
// generations from the beginning.
type sessionKey struct {
	domain, state string
	generation    int64
}

func (s *session) key() sessionKey { return sessionKey{s.replica.domain, s.state, s.generation} }

func newSessions(max int) *sessions {
	return &sessions{max: max, all: map[sessionKey]*session{}, spans: map[uint32]*span{}}
}

// of returns the session of a state.
func (s *sessions) of(r *replica, state string, generation int64) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sessionKey{r.domain, state, generation}
	if s.all[key] == nil {
		s.all[key] = &session{replica: r, state: state, generation: generation, volumes: map[string]*guestFS{}}
	}
	return s.all[key]
}

// volume returns a session's volume of a name, and counts a lookup of it.
func (s *sessions) volume(of *session, name string) *guestFS {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := of.volumes[name]
	if v == nil {
		v = &guestFS{session: of, name: name, spans: map[uint64]*span{}}
		of.volumes[name] = v
	}
	s.all[of.key()] = of
	v.lookups.Add(1)
	return v
}

// makeRoom closes those sessions that were not used for longest, so that one more can
// be opened.
func (s *sessions) makeRoom(but *session) {
	open := s.opened()
	if len(open) < s.max {
		return
	}
	slices.SortFunc(open, func(a, b *session) int { return int(a.used.Load() - b.used.Load()) })
	for _, o := range open[:len(open)-s.max+1] {
		if o != but {
			o.close(time.Now())
		}
	}
}

// opened are the sessions that are open.
func (s *sessions) opened() []*session {
	var open []*session
	for _, o := range s.list() {
		if o.isOpen() {
			open = append(open, o)
		}
	}
	return open
}

func (s *sessions) list() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.all))
	for _, o := range s.all {
		list = append(list, o)
	}
	return list
}

// closeIdle closes what nobody has used for idle.
func (s *sessions) closeIdle(idle time.Duration) {
	for _, o := range s.list() {
		o.close(time.Now().Add(-idle))
	}
}

// sweep drops the sessions of states that are no longer there, once the kernel knows
// nothing of them.
func (s *sessions) sweep(listed func(*session) bool) {
	for _, o := range s.list() {
		if listed(o) || o.isOpen() || o.handles.Load() != 0 {
			continue
		}
		s.mu.Lock()
		if o.unknown() {
			for _, v := range o.volumes {
				for _, at := range v.spans {
					delete(s.spans, at.number)
				}
			}
			clear(o.volumes) // whoever still has the session begins anew
			delete(s.all, o.key())
		}
		s.mu.Unlock()
	}
}

// unknown says that the kernel knows no file of the session. The caller holds the lock of
// the sessions.
func (s *session) unknown() bool {
	for _, v := range s.volumes {
		if v.lookups.Load() != 0 {
			return false
		}
	}
	return true
}

// closeAll closes everything, for the end.
func (s *sessions) closeAll() {
	for _, o := range s.list() {
		o.mu.Lock()
		if o.open != nil {
			o.open.close()
			o.open = nil
		}
		o.mu.Unlock()
	}
}

func (s *sessions) count() (sessions, spans int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.all), len(s.spans)
}
