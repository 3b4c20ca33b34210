package nbdproxy

import (
	"errors"
	"sync"
)

var (
	errTooManyClients = errors.New("too many clients")
	errNoMemory       = errors.New("too little memory left for a client without structured replies")
)

// places hands out what connections share: places in transmission, and the memory
// beyond what each of them is sure of. It never makes anybody wait, so that
// nobody waits for a client that does not read.
type places struct {
	mu     sync.Mutex
	free   int   // places
	memory int64 // bytes that no connection is sure of or uses
}

// place is one connection's right to transmission, and its account with the memory
// that is shared.
type place struct {
	all       *places
	guarantee int64 // bytes it is sure of
}

func newPlaces(l Limits) *places {
	return &places{free: l.Connections, memory: l.Memory - int64(l.Connections)*segment}
}

// guaranteeFor returns how many bytes of payload a connection must be sure of so
// that its longest request never waits for anything but its own earlier ones.
func guaranteeFor(x *export, structured bool) int64 {
	if structured {
		return segment
	}
	return max(segment, bufferSize(int(x.BlockSizes.Maximum)))
}

// take admits a connection to transmission. Whoever got a place gives it back.
func (ps *places) take(guarantee int64) (*place, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	extra := guarantee - segment
	switch {
	case ps.free == 0:
		return nil, errTooManyClients
	case ps.memory < extra:
		return nil, errNoMemory
	}
	ps.free--
	ps.memory -= extra
	return &place{all: ps, guarantee: guarantee}, nil
}

func (p *place) giveBack() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.all.free++
	p.all.memory += p.guarantee - segment
}

// resize asks to hold now bytes instead of before. Less is always granted, and so
// is what the guarantee covers.
func (p *place) resize(before, now int64) bool {
	n := max(now-p.guarantee, 0) - max(before-p.guarantee, 0)
	if n == 0 {
		return true
	}
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if n > p.all.memory {
		return false
	}
	p.all.memory -= n
	return true
}
