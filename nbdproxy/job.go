package nbdproxy

import (
	"sync"
	"sync/atomic"
)

// job is a step of a request, from its admission until its reply is sent: the
// whole request, or one segment of a long read or write.
type job struct {
	command uint16
	flags   uint16
	handle  uint64
	offset  uint64
	length  uint32
	whole   *whole // the request it is a part of; nil if it is all of it

	cost int64 // bytes of memory admitted
	buf  *buffer

	// The reply: head, then body, which is part of buf or a short text.
	headLen int
	head    [32]byte
	body    []byte
}

// payload is the job's part of what a read or write transfers.
func (j *job) payload() []byte {
	if j.length == 0 {
		return nil
	}
	return j.buf.b[:j.length]
}

// whole is a request that is done in several jobs, side by side.
type whole struct {
	left atomic.Int32 // jobs not done yet

	mu  sync.Mutex
	err error  // the first of a write's jobs that failed
	at  uint64 // where it failed
}

func (w *whole) fail(err error, at uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err, w.at = err, at
	}
}

func (w *whole) failure() (at uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at, w.err
}
