// Package pinned is what commands that read a pinned state (store.Pin) have in common:
// which of its disks they may use, and how they open its images while a sync may reshape
// them. It must never change anything in a store.
package pinned

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// Disks finds the disks of the pinned state that were asked for by name, all if none
// were, and refuses damaged ones. op is the command, for errors.
func Disks(pin *store.Pin, op string, names []string) ([]store.Disk, error) {
	domain := filepath.Base(pin.Dir())
	disks := pin.State.Disks
	if len(names) > 0 {
		disks = nil
		seen := map[string]bool{}
		for _, name := range names {
			d := pin.State.Disk(name)
			if d == nil {
				return nil, &replicator.Error{Kind: replicator.KindNoDisk, Domain: domain, Disk: name, Op: op,
					Err: fmt.Errorf("state %s has no such disk", pin.State.ID)}
			}
			if !seen[name] {
				disks = append(disks, *d)
			}
			seen[name] = true
		}
	}
	for i := range disks {
		if damage := pin.Manifest.DiskDamage(&disks[i]); damage != "" {
			return nil, &replicator.Error{Kind: replicator.KindDamaged, Domain: domain, Disk: disks[i].Name, Op: op,
				Hint: op + " another state; `vmsync verify " + domain + " --all` tells which ones are right",
				Err:  fmt.Errorf("state %s is damaged: %s", pin.State.ID, damage)}
		}
	}
	return disks, nil
}

// OutsideReplica refuses a path in the folder of the replica, to keep that free from what
// is not its own. The path need not exist.
func OutsideReplica(pin *store.Pin, path string) error {
	real := func(path string) string {
		for p := filepath.Clean(path); ; p = filepath.Dir(p) {
			if resolved, err := filepath.EvalSymlinks(p); err == nil || p == "/" {
				return resolved
			}
		}
	}
	if rel, err := filepath.Rel(real(pin.Dir()), real(path)); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s is in the folder of the replica itself", path)
	}
	return nil
}

const (
	// again is how long to wait for somebody who is merging the state's images, and
	// patience for how long in all.
	again    = 500 * time.Millisecond
	patience = 30 * time.Minute
)

// Steady runs a function that opens an image of the pinned state, and those beneath it,
// again until it succeeds or fails for a reason of its own: while a sync reshapes the
// images one of them may be locked, or just being renamed. What the state's image reads
// as is the same afterwards.
func Steady(ctx context.Context, pin *store.Pin, image string, open func() error) error {
	for start := time.Now(); ; {
		before := chainNow(pin, image)
		err := open()
		if err == nil {
			return nil
		}
		moved := errors.Is(err, qemu.ErrInUse) || chainNow(pin, image) != before
		if ctx.Err() != nil || !moved || errors.Is(err, qemu.ErrNoSpace) || time.Since(start) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(again):
		}
	}
}

// chainNow tells an image and those beneath it from those that they are reshaped to.
func chainNow(pin *store.Pin, image string) string {
	m, err := store.Read(filepath.Dir(pin.Dir()), filepath.Base(pin.Dir()))
	if err != nil {
		return err.Error()
	}
	var all string
	for _, img := range m.Chain(image) {
		var st syscall.Stat_t
		_ = syscall.Stat(pin.Path(img.Name), &st) // one that is not there has number 0
		all += fmt.Sprintf("%s %d ", img.Name, st.Ino)
	}
	return fmt.Sprint(all, m.Step)
}
