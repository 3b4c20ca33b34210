package inspect

import (
	"sync"

	"vmsync/nbdproxy/stream"
)

// verifiers decompress and verify frames on several goroutines.
type verifiers struct {
	idle chan *stream.Frame
	work chan job
	wg   sync.WaitGroup

	mu    sync.Mutex
	first *Error
}

// job is a frame to be verified, and where it stands.
type job struct {
	frame *stream.Frame
	place Error
}

func startVerifiers(n int) *verifiers {
	// So many frames that reading and verifying need not wait for each other.
	frames := 2*n + 2
	v := &verifiers{idle: make(chan *stream.Frame, frames), work: make(chan job, frames)}
	for range frames {
		v.idle <- new(stream.Frame)
	}
	for range n {
		v.wg.Go(v.run)
	}
	return v
}

// free returns a frame to read into, or nil when a bad one was found.
func (v *verifiers) free() *stream.Frame {
	f := <-v.idle
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.first != nil {
		return nil
	}
	return f
}

// verify takes over a frame that was read.
func (v *verifiers) verify(f *stream.Frame, place Error) {
	if f.Kind == stream.KindDiskEnd { // which the decoder has verified
		v.idle <- f
		return
	}
	v.work <- job{f, place}
}

// run verifies frames until there are no more. It goes on after a bad one: another
// that was read before it may be bad too.
func (v *verifiers) run() {
	buf := make([]byte, stream.MaxPayload)
	for j := range v.work {
		if _, err := j.frame.Open(buf); err != nil {
			j.place.Err = err
			v.fail(&j.place)
		}
		v.idle <- j.frame
	}
}

func (v *verifiers) fail(e *Error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.first == nil || e.Frame < v.first.Frame {
		v.first = e
	}
}

// stop waits for the frames that are on their way, and returns what is wrong with
// the first bad one.
func (v *verifiers) stop() error {
	close(v.work)
	v.wg.Wait()
	if v.first != nil {
		return v.first
	}
	return nil
}
