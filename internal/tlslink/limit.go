package tlslink

import (
	"net/netip"
	"sync"
)

// How many connections may be open of which it is not known yet who the peer is: in all, and
// from one place. One place cannot keep all others out.
const (
	maxStrangers    = 128
	maxFromOnePlace = 16
)

// strangers counts them.
type strangers struct {
	mu    sync.Mutex
	all   int
	from  map[netip.Prefix]int
	bound int // maxStrangers
}

// place is what counts as one place: an IPv4 address, or an IPv6 network of the size that
// a single customer gets.
func place(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero prefix for an address that is none
	return p
}

// enter counts one in, unless there are too many. Leave is for those who were let in.
func (s *strangers) enter(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := place(a)
	if s.all >= s.bound || s.from[p] >= maxFromOnePlace {
		return false
	}
	if s.from == nil {
		s.from = map[netip.Prefix]int{}
	}
	s.all++
	s.from[p]++
	return true
}

func (s *strangers) leave(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := place(a)
	s.all--
	if s.from[p]--; s.from[p] == 0 {
		delete(s.from, p)
	}
}
