package ours

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vmsync/replicator"
)

// Lock is the lock of runs on one domain of this host. The kernel drops it with the
// process that holds it, whatever ends that.
type Lock struct{ file *os.File }

type holder struct {
	PID  int    `json:"pid"`
	What string `json:"what"`
}

const maxHolder = 4096 // bytes read of a lock file

// TakeLock takes the lock at once or fails with a *replicator.BusyError. what says,
// for people, what the holder does.
func TakeLock(runDir, uuid, what string) (*Lock, error) {
	path := filepath.Join(runDir, "lock", filepath.Base(uuid))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock the domain: %w", err)
	}
	// The file is never removed: whoever waits for it must find the same one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the domain: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		var h holder
		// Who holds it is a help for people; a half-written record is no record.
		if data, err := io.ReadAll(io.LimitReader(f, maxHolder)); err == nil {
			_ = json.Unmarshal(data, &h)
		}
		return nil, &replicator.BusyError{PID: h.PID, What: h.What}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the domain: flock %s: %w", path, err)
	}
	data, err := json.Marshal(holder{PID: os.Getpid(), What: what})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(data, '\n'), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the domain: write %s: %w", path, err)
	}
	return &Lock{file: f}, nil
}

// Release gives the lock back. It may be called on nil and several times.
func (l *Lock) Release() {
	if l != nil {
		// Closing drops the lock; that the file was open already says all.
		_ = l.file.Close()
	}
}
