package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pin is a lease on one state of a replica: while it is held the state stays in the
// manifest, and so do the files it needs. It needs no lock of the folder, so that a
// state can be read while a run adds others. It dies with the process.
//
// The fields are what the manifest said when the pin was taken. Of the whole
// manifest only the pinned state is sure to stay. A pin is safe for use by many
// goroutines; none may change what the fields point to.
type Pin struct {
	State    *State
	Manifest *Manifest

	dir     string
	file    *os.File
	release sync.Once
}

// PinState pins the state of a name ([Manifest.Find]) of a replica. What says to
// people what for, in a few words: "mount /mnt". A store without such a replica gives an
// error for which errors.Is(err, fs.ErrNotExist) holds; it makes no folder.
//
// It waits for those who pin or unlist at the same moment, as long as ctx lasts. Files of
// dead holders are removed.
func PinState(ctx context.Context, storeDir, domain, name, what string) (*Pin, error) {
	if err := CheckDomainName(domain); err != nil {
		return nil, err
	}
	f := &Folder{dir: filepath.Join(storeDir, domain)}
	// What has no manifest is not a replica's folder: nothing may be put into it.
	if _, err := os.Stat(f.Path(ManifestName)); err != nil {
		return nil, fmt.Errorf("replica %s: %w", domain, err)
	}
	var pin *Pin
	err := f.holdPins(ctx, func() error {
		m, err := f.Load()
		if err != nil {
			return err
		}
		s, err := m.Find(name)
		if err != nil {
			return err
		}
		if _, err := f.livePins(true); err != nil { // what dead holders left goes
			return err
		}
		file, err := f.writePin(s, what)
		if err != nil {
			return fmt.Errorf("pin state %s of %s: %w", s.ID, domain, err)
		}
		pin = &Pin{State: s, Manifest: m, dir: f.dir, file: file}
		return nil
	})
	return pin, err
}

// Dir is the path of the replica's folder.
func (p *Pin) Dir() string { return p.dir }

// Path gives the path of a file that the manifest names.
func (p *Pin) Path(name string) string { return (&Folder{dir: p.dir}).Path(name) }

// Release gives the state free. Further calls do nothing.
func (p *Pin) Release() {
	p.release.Do(func() {
		// Who looks at the pins between the two finds it held, once more.
		_ = os.Remove(p.file.Name()) // what stays is found to be nobody's
		p.file.Close()
	})
}

// writePin makes a pin's file, locked. The caller holds the lock of the pins.
func (f *Folder) writePin(s *State, what string) (*os.File, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	content, err := json.Marshal(Holder{Pid: os.Getpid(), What: what, Since: time.Now().UTC(), State: s.ID})
	if err != nil {
		return nil, err
	}
	name := f.Path(fmt.Sprintf("%s/%d.%s", pinsDir, s.Generation, hex.EncodeToString(id[:])))
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = file.Write(content)
	}
	if err != nil {
		_ = os.Remove(name)
		file.Close()
		return nil, err
	}
	return file, nil
}

// pinsPoll is how often a lock that somebody else holds is tried. It is held for
// as long as it takes to write a manifest.
const pinsPoll = 2 * time.Millisecond

// holdPins runs a function while nobody else takes or looks for pins.
func (f *Folder) holdPins(ctx context.Context, do func() error) error {
	if err := os.Mkdir(f.Path(pinsDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := f.lockPins()
	for ; errors.Is(err, ErrBusy); lock, err = f.lockPins() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the pins of %s: %w", f.dir, context.Cause(ctx))
		case <-time.After(pinsPoll):
		}
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	// Closing alone is not enough: a child that is just being started has a copy of
	// the file until it runs its program.
	defer unix.Flock(int(lock.Fd()), unix.LOCK_UN) //nolint:errcheck // nothing to be done about it
	return do()
}

// lockPins takes the lock of the pins, or gives [ErrBusy].
func (f *Folder) lockPins() (*os.File, error) {
	lock, err := os.OpenFile(f.Path(pinsLock), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := hold(lock); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}
