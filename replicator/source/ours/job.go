package ours

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vmsync/internal/faultpoint"
	"vmsync/internal/libvirt"
)

// ErrStopping says that the domain is about to be off. Its job ends with it, but that
// may take a minute: libvirt's (9.0) handler of qemu's VSERPORT_CHANGE events, which a
// guest agent causes when it ends, waits 30 s for each to be allowed beside a backup
// job, and only then the end of qemu is handled. Nothing can be aborted meanwhile.
var ErrStopping = errors.New("the domain is shutting down, and its backup job with it")

const (
	jobPoll = 100 * time.Millisecond
	// endAgain is how long a job may take to end before it is told again: a libvirtd that
	// is killed while it ends one has it again after its restart, and has forgotten that
	// it was to end.
	endAgain = 3 * time.Second
	// endLimit is how long it may take in all.
	endLimit = time.Minute
)

// EndJob ends the domain's backup job if mine says that it is the one meant, and
// returns when it is gone and its scratch files are removed. ended is false when
// there was no such job.
func EndJob(ctx context.Context, dom *libvirt.Domain, mine func(*libvirt.Backup) bool) (ended bool, err error) {
	job, err := dom.Backup(ctx)
	if err != nil || job == nil || !mine(job) {
		return false, err
	}
	if stopping(ctx, dom) {
		return false, ErrStopping
	}
	faultpoint.Hit("source-before-abort")
	switch err = dom.AbortJob(ctx); {
	case err == nil, errors.Is(err, libvirt.ErrOperationInvalid), errors.Is(err, libvirt.ErrNoDomain):
	case errors.Is(err, libvirt.ErrDisconnected):
		// A libvirtd that died comes back, with the job or without: waitGone sees.
	default:
		// It may have ended meanwhile: a guest that shuts down gives odd errors.
		if now, again := dom.Backup(ctx); again != nil || now != nil {
			if stopping(ctx, dom) {
				return false, ErrStopping
			}
			return false, err
		}
	}
	if err := waitGone(ctx, dom, mine); err != nil {
		return true, err
	}
	for _, disk := range job.Disks {
		if _, ok := scratchCheckpoint(disk.Scratch); ok && !disk.Excluded {
			if err := waitRemoved(ctx, disk.Scratch); err != nil {
				return true, err
			}
		}
	}
	// qemu removes its socket, but not when it was killed.
	if err := os.Remove(job.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("remove the export's socket: %w", err)
	}
	return true, nil
}

// waitGone waits until libvirt has no such job any more.
func waitGone(ctx context.Context, dom *libvirt.Domain, mine func(*libvirt.Backup) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endLimit, fmt.Errorf("it did not end in %v", endLimit))
	defer cancel()
	for told := time.Now(); ; {
		job, err := dom.Backup(ctx)
		if errors.Is(err, libvirt.ErrNoDomain) || err == nil && (job == nil || !mine(job)) {
			return nil
		}
		if stopping(ctx, dom) {
			return ErrStopping
		}
		if err == nil && time.Since(told) > endAgain {
			told = time.Now()
			// How it takes that is seen the next time.
			_ = dom.AbortJob(ctx)
		}
		if err := pause(ctx, jobPoll); err != nil {
			return fmt.Errorf("domain %s: its backup job was told to end but is still there: %w", dom.Name, err)
		}
	}
}

func stopping(ctx context.Context, dom *libvirt.Domain) bool {
	state, err := dom.State(ctx)
	return err == nil && !state.BackupPossible() && !state.Off()
}

// waitRemoved gives libvirt a moment to remove a scratch file, then does it: the job
// is gone, so nobody writes to the file.
func waitRemoved(ctx context.Context, path string) error {
	for range 20 {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := pause(ctx, jobPoll); err != nil {
			break
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove scratch file: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// RemoveScratch removes the scratch files that dead runs left for an image and
// returns their paths. Call it only with the lock held and no job active.
func RemoveScratch(image Image) ([]string, error) {
	found, err := FindScratch(image)
	if err != nil {
		return nil, err
	}
	for i, path := range found {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found[:i], fmt.Errorf("remove scratch file: %w", err)
		}
	}
	return found, nil
}

// FindScratch returns the paths of the scratch files that there are for an image, of
// whichever run.
func FindScratch(image Image) ([]string, error) {
	dir := filepath.Dir(image.scratchStem())
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for scratch files: %w", err)
	}
	var found []string
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		checkpoint, ok := scratchCheckpoint(path)
		// The whole name must be one that ScratchFile makes for this image: vda's must
		// not match vdaa's.
		if !ok || path != ScratchFile(image, checkpoint) || !entry.Type().IsRegular() {
			continue
		}
		found = append(found, path)
	}
	return found, nil
}
