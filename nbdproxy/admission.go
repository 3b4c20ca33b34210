package nbdproxy

import "sync"

// admission bounds what the requests of one connection hold. The connection's
// reader waits here before it takes memory or work for a request, and so stops
// reading from a client whose replies are not taken.
type admission struct {
	buffers *buffers
	place   *place
	limit   int64 // bytes

	mu      sync.Mutex
	changed sync.Cond // with mu: a job was released, or closed is set
	free    []*job
	spare   int   // jobs not made yet
	held    int64 // bytes
	closed  bool
}

func newAdmission(l Limits, p *place, b *buffers) *admission {
	a := &admission{buffers: b, place: p, limit: l.ConnectionMemory, spare: l.Requests}
	a.changed.L = &a.mu
	return a
}

// admit waits until a job may have a buffer of n bytes and use scratch bytes besides, and
// returns it with the buffer, or nil if the connection ends meanwhile. A connection of
// which nothing is under way never waits, if it asks for no more than its place
// guarantees.
func (a *admission) admit(n, scratch int) *job {
	cost := bufferSize(n) + int64(scratch)
	a.mu.Lock()
	for !a.closed && !a.grant(cost) {
		a.changed.Wait()
	}
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	j := a.takeJob()
	a.mu.Unlock()
	*j = job{cost: cost}
	if n > 0 {
		j.buf = a.buffers.get(n)
	}
	return j
}

// grant tells whether a job and its memory are to be had, and takes the memory.
func (a *admission) grant(cost int64) bool {
	if len(a.free) == 0 && a.spare == 0 {
		return false
	}
	if a.held > 0 && a.held+cost > a.limit || !a.place.resize(a.held, a.held+cost) {
		return false
	}
	a.held += cost
	return true
}

func (a *admission) takeJob() *job {
	if n := len(a.free); n > 0 {
		j := a.free[n-1]
		a.free = a.free[:n-1]
		return j
	}
	a.spare--
	return new(job)
}

// release takes a job back whose reply was sent, or never will be.
func (a *admission) release(j *job) {
	if j.buf != nil {
		a.buffers.put(j.buf)
		j.buf, j.body = nil, nil
	}
	a.mu.Lock()
	a.place.resize(a.held, a.held-j.cost)
	a.held -= j.cost
	a.free = append(a.free, j)
	a.mu.Unlock()
	a.changed.Signal()
}

// close makes admit return nil from now on.
func (a *admission) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.changed.Signal()
}
