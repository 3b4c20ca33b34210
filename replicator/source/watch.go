package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"vmsync/replicator"
)

const (
	watchEvery = 500 * time.Millisecond
	// endTimeout bounds the end of the job when the run fails under our hands.
	endTimeout = 20 * time.Second
	// settleEvery and settleTries: when the job has ended, libvirt may still have to
	// tell of a guest that was stopped before it did.
	settleEvery = 250 * time.Millisecond
	settleTries = 4
)

// watcher looks after a backup job, from its begin until stop. It ends the job before
// the scratch files fill their file system; when the guest was stopped by that all the
// same, it lets it go on.
type watcher struct {
	end    *End
	rooms  []*room
	paused bool // the guest was stopped by an I/O error before the job began
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
	// trouble is why the run cannot go on; it is set before done is closed and not read
	// before.
	trouble error
	// handed is set once all is sent: then the job is of no more use, and neither its
	// end nor the domain's is an error.
	handed atomic.Bool

	mu       sync.Mutex
	progress map[string]replicator.Progress // of each disk, the latest
}

// startWatch begins to watch the job that e.run has. Until stop has returned nobody
// else may end the job or use the guard. paused says that an I/O error had stopped the
// guest before.
func (e *End) startWatch(rooms []*room, paused bool) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{end: e, rooms: rooms, paused: paused, cancel: cancel, done: make(chan struct{}), progress: make(map[string]replicator.Progress)}
	go func() {
		defer close(w.done)
		w.trouble = w.watch(ctx)
	}()
	return w
}

// stop ends the watching, waits for it, and returns what it found, if anything. It may
// be called on nil and several times.
func (w *watcher) stop() error {
	if w == nil {
		return nil
	}
	w.cancel()
	<-w.done
	return w.trouble
}

// note keeps how far a disk's copy is, for what is said when room runs out.
func (w *watcher) note(p replicator.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress[p.Disk] = p
}

// part is which part of the copy is done, between 0 and 1; 0 if that is unknown.
func (w *watcher) part() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var done, total float64
	for _, p := range w.progress {
		of := float64(p.Total)
		if p.Total == 0 && p.Scanned > 0 {
			of = float64(p.Found) / float64(p.Scanned) * float64(p.Size)
		}
		done, total = done+float64(p.Done), total+of
	}
	if total == 0 {
		return 0
	}
	return min(1, done/total)
}

// watch looks at the domain and the scratch files' room. It returns nil when ctx ends
// and an error when the run cannot go on; for want of room it has then ended the job
// and let the guest go on.
func (w *watcher) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if over, err := w.once(ctx); over || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// once looks once. over says that there is nothing more to watch.
func (w *watcher) once(ctx context.Context) (over bool, err error) {
	e := w.end
	full := w.lookAtRooms()
	if full == nil {
		state, err := e.dom.State(ctx)
		switch {
		case err != nil:
			// Libvirt may be away for a while; qemu and the copy go on without it.
			if ctx.Err() == nil {
				e.log.Warn("cannot watch the domain", "domain", e.dom.Name, "error", err)
			}
			return false, nil
		case !state.BackupPossible():
			if w.handed.Load() {
				return true, nil
			}
			return true, e.stopped(state.String())
		case w.paused || !state.PausedByIOError():
			return false, nil
		}
		full = e.fail(replicator.KindScratchFull, "keep what the guest overwrites during the copy",
			"free space beside the disk's images, then look at the domain with `virsh domblkerror`",
			errors.New("the guest was stopped by an I/O error while the backup ran"))
	}
	ended := w.endInTime()
	if w.handed.Load() && ended == nil {
		e.log.Info("the backup job was ended early", "domain", e.dom.Name, "reason", full)
		return true, nil
	}
	return true, errors.Join(full, ended)
}

// lookAtRooms returns an error when one of the file systems is nearly full.
func (w *watcher) lookAtRooms() error {
	for _, r := range w.rooms {
		if err := r.measure(time.Now()); err != nil {
			w.end.log.Warn("cannot watch the scratch files", "error", err)
		} else if r.low() {
			return w.end.scratchFull(r, w.part())
		}
	}
	return nil
}

// endInTime ends the job before the guest is stopped for want of room, or lets it
// run on if it was.
func (w *watcher) endInTime() error {
	e := w.end
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if _, err := e.endJob(ctx); err != nil {
		return e.fail("", "end the backup job", "end it with `virsh domjobabort`", err)
	}
	if w.paused {
		return nil
	}
	for range settleTries {
		state, err := e.dom.State(ctx)
		if err != nil {
			return e.fail("", "see whether the guest was stopped", "resume it with `virsh resume` if it was", err)
		}
		if state.PausedByIOError() {
			if err := e.dom.Resume(ctx); err != nil {
				return e.fail("", "resume the guest", "resume it with `virsh resume`", err)
			}
			e.log.Warn("the guest was stopped for want of room for scratch files, and goes on", "domain", e.dom.Name)
			return nil
		}
		timer := time.NewTimer(settleEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

func (e *End) stopped(state string) error {
	return e.fail(replicator.KindDomainStopped, "send the stream", "sync again when it runs", fmt.Errorf("the domain is %s: it stopped during the copy", state))
}
