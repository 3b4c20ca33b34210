package source

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"vmsync/replicator"
)

// known are files with what the target holds of the disks. They have no name, so that
// nothing of them outlives the process, and may be large: a disk's has a four-thousandth
// of its size, if it is full.
type known map[string]*os.File

// knownDir takes them: it is on a disk rather than in memory.
const knownDir = "/var/tmp"

// maxKnown bounds such a file, in bytes.
const maxKnown = 1 << 40

// TakeKnown implements replicator.SourceEnd.
func (e *End) TakeKnown(_ context.Context, part replicator.KnownPart) error {
	const op = "learn what the target holds"
	if e.closed || e.dom == nil || e.run != nil {
		return e.sequence(op)
	}
	if _, ours := e.disks[part.Disk]; e.opts.ForClient && !ours {
		return e.withDomain(op, fmt.Errorf("there is no disk %q", part.Disk))
	}
	if e.known == nil {
		e.known = known{}
	}
	if err := e.known.take(part); err != nil {
		return e.withDomain(op, fmt.Errorf("disk %s: %w", part.Disk, err))
	}
	return nil
}

// take writes a part into its disk's file.
func (k known) take(part replicator.KnownPart) error {
	end := part.Offset + int64(len(part.Data))
	if part.Disk == "" || part.Offset < 0 || part.Size < 0 || part.Size > maxKnown || end < part.Offset || end > part.Size {
		return errors.New("a part that makes no sense")
	}
	f := k[part.Disk]
	if f == nil || part.Offset == 0 { // the first part of all, of this plan or of one that follows it
		if f != nil {
			_ = f.Close()
		}
		fd, err := unix.Open(knownDir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return &os.PathError{Op: "make a file in", Path: knownDir, Err: err}
		}
		f = os.NewFile(uintptr(fd), knownDir)
		k[part.Disk] = f
	}
	if err := f.Truncate(part.Size); err != nil {
		return err
	}
	_, err := f.WriteAt(part.Data, part.Offset)
	return err
}

// paths are where a child of this process finds the files.
func (k known) paths() map[string]string {
	paths := map[string]string{}
	for disk, f := range k {
		paths[disk] = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
	return paths
}

func (k known) close() {
	for _, f := range k {
		_ = f.Close() // it has no name: there is nothing to lose
	}
}
