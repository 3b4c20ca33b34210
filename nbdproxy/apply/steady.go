package apply

import (
	"sync"
	"time"

	"vmsync/nbdproxy/nbdconn"
)

// flushEvery is how long what was written may stay with the server. qemu-nbd keeps in
// memory where it has put things: if it is killed, all since the last flush is lost to the
// run that goes on with the image.
const flushEvery = 3 * time.Second

// steady has a disk's writers flush now and then.
type steady struct {
	mu   sync.Mutex
	last time.Time // of the last flush, or of the first write
}

// written is called after each write; one of the writers then flushes, if it is time.
func (s *steady) written(c *nbdconn.Conn) error {
	now := time.Now()
	s.mu.Lock()
	due := !s.last.IsZero() && now.Sub(s.last) >= flushEvery
	if due || s.last.IsZero() {
		s.last = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return c.Flush()
}
