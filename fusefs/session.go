package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

// session is the use of one state's disks and files. Its disks are open, and the state
// is pinned, from the first look until nobody has had anything open, and nobody has
// looked, for a while. Afterwards they can be opened again, as long as the state is
// there: neither the disks nor the numbers of files have changed.
type session struct {
	replica    *replica
	state      string
	generation int64

	handles atomic.Int64 // files and folders that somebody has open
	used    atomic.Int64 // when it was last used, in Unix nanoseconds

	// mu is held for reading while the disks are in use, and for writing, for a moment, when
	// they have been opened or are closed.
	mu   sync.RWMutex
	open *opened

	// opening is held while the disks are opened, which may take minutes where they are
	// encrypted. It is taken before mu.
	opening sync.Mutex
	failed  error // why the last attempt to open failed, at tried
	tried   time.Time

	volumes map[string]*guestFS // by name, those that were ever looked at; the sessions' mu guards it
}

// opened are the disks of a session while they are open.
type opened struct {
	pin     *store.Pin
	disks   []openDisk
	volumes []*foundVolume
	readers map[string]*reader // by the volumes' names

	dataMu sync.Mutex
	data   map[string]int64 // how many bytes of a raw image are data, by its path below disks/
}

type openDisk struct {
	name   string
	device device.Device
	close  func() error
}

// errDamaged is a state that a verification found damaged.
var errDamaged = errors.New("the state is damaged")

// openAgain is how long an error of opening stands, so that a look at many files
// does not open a broken chain of images for each of them.
const openAgain = 5 * time.Second

// hold opens the disks unless they are, and keeps them so until release is called.
func (s *session) hold() (*opened, error) {
	for {
		s.used.Store(time.Now().UnixNano())
		s.mu.RLock()
		if s.open != nil {
			return s.open, nil
		}
		s.mu.RUnlock()
		// Between the two it can be closed again, to make room for others.
		if err := s.start(); err != nil {
			return nil, err
		}
	}
}

func (s *session) release() { s.mu.RUnlock() }

// start opens the disks, unless they are open or could not be opened a moment ago.
func (s *session) start() error {
	s.replica.tree.sessions.makeRoom(s)
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.isOpen() {
		return nil
	}
	if s.failed != nil && time.Since(s.tried) < openAgain {
		return s.failed
	}
	o, err := s.openDisks()
	s.failed, s.tried = err, time.Now()
	if err != nil {
		s.replica.tree.failures.report(failure{domain: s.replica.domain, state: s.state}, err)
		return err
	}
	s.used.Store(time.Now().UnixNano())
	s.mu.Lock()
	s.open = o
	s.mu.Unlock()
	return nil
}

// pinWait is how long a look waits for the lock of the pins, which others hold for
// moments.
const pinWait = 10 * time.Second

func (s *session) openDisks() (_ *opened, err error) {
	t := s.replica.tree
	ctx, cancel := context.WithTimeoutCause(context.Background(), pinWait, errors.New("somebody else holds their lock"))
	defer cancel()
	pin, err := store.PinState(ctx, t.options.Store, s.replica.domain, s.state, t.options.Purpose)
	switch {
	case errors.Is(err, store.ErrNoState), errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case err != nil:
		return nil, err
	}
	o := &opened{pin: pin, readers: map[string]*reader{}}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if pin.State.Generation != s.generation {
		return nil, errGone
	}
	if damage := pin.Manifest.Damage(pin.State); damage != "" {
		return nil, fmt.Errorf("%w: %s", errDamaged, damage)
	}
	for _, d := range pin.State.Disks {
		dev, done, err := t.opener.openDisk(pin.Path(d.Image))
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		o.disks = append(o.disks, openDisk{d.Name, dev, done})
		if dev.Size() != d.Size {
			return nil, fmt.Errorf("disk %s: the image has %d bytes, the manifest says %d", d.Name, dev.Size(), d.Size)
		}
	}
	if o.volumes, err = t.opener.findVolumes(o.disks); err != nil {
		return nil, err
	}
	for _, v := range o.volumes {
		o.readers[v.name] = &reader{volume: v}
	}
	return o, nil
}

// errGone is a state that is no longer there.
var errGone = fmt.Errorf("the state has gone: %w", unix.ESTALE)

// close closes the disks unless they are in use, or have been since.
func (s *session) close(since time.Time) {
	if s.handles.Load() != 0 || s.used.Load() > since.UnixNano() || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.handles.Load() == 0 && s.open != nil { // they are only counted up while mu is held for reading
		s.open.close()
		s.open = nil
	}
}

func (o *opened) close() {
	for _, d := range o.disks {
		_ = d.close() // nothing was written
	}
	o.pin.Release()
}

// disk returns an open disk by its name.
func (o *opened) disk(name string) (device.Device, error) {
	for _, d := range o.disks {
		if d.name == name {
			return d.device, nil
		}
	}
	return nil, filesystem.ErrNotExist
}

// isOpen says whether the state is pinned now.
func (s *session) isOpen() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.open != nil
}
