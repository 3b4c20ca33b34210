package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/newfile"
	"vmsync/internal/passable"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/pinned"
)

// kept is a copy to keep of a disk: an image of its own, which needs neither the overlay nor
// the state.
type kept struct {
	path string // final
	temp string // what has been written so far; empty for nothing
}

// layout decides where the copies of disks go: one disk to a file of that name, unless it
// is a folder or ends with a slash; several to a folder. None of the files may exist.
func layout(keep string, disks []store.Disk) ([]kept, error) {
	clean := filepath.Clean(keep)
	st, err := os.Stat(clean)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	folder := strings.HasSuffix(keep, "/") || err == nil && st.IsDir()
	if ext := filepath.Ext(clean); !folder && (ext == ".img" || ext == ".raw") {
		return nil, fmt.Errorf("what is kept is a qcow2 image, not what one would take %s for", clean)
	}
	if !folder && len(disks) > 1 {
		return nil, fmt.Errorf("%s is to be one file, and there are %d disks: choose one with --disk, or name a folder, with a slash at its end", clean, len(disks))
	}
	parent := filepath.Dir(clean)
	if !folder {
		if st, err := os.Stat(parent); err != nil || !st.IsDir() {
			return nil, errors.Join(fmt.Errorf("there is no folder %s", parent), err)
		}
	}
	var copies []kept
	for _, d := range disks {
		path := clean
		if folder {
			path = filepath.Join(clean, d.Name+".qcow2")
		}
		if _, err := os.Lstat(path); err == nil {
			return nil, fmt.Errorf("%s exists", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		copies = append(copies, kept{path: path})
	}
	return copies, nil
}

// keep makes copies of what the overlays read as, and gives them their names when all are
// complete and durable.
func (e *export) keep() (err error) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if e.req.Keeping != nil {
		ctx, cancel = e.req.Keeping()
	}
	defer cancel()
	defer func() { err = errors.Join(err, e.dropTemps()) }()
	err = replicator.Phase(e.out, event.PhaseKeep, func() error {
		for i := range e.copies {
			if err := e.patiently(ctx, i); err != nil {
				return e.keepError(i, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.place()
}

// place gives the copies their names. One that cannot have its name stays under the
// temporary one, for there is no other any more.
func (e *export) place() error {
	var errs []error
	done := event.Kept{Domain: e.req.Domain, State: e.pin.State.ID}
	for i := range e.copies {
		c, d := &e.copies[i], e.disks[i]
		at := c.temp
		c.temp = "" // it is not to be removed
		err := newfile.Place(at, c.path)
		if err == nil {
			at = c.path
			done.Disks = append(done.Disks, event.KeptDisk{Disk: d.Name, Path: c.path, Size: d.Size})
		}
		if err = errors.Join(err, newfile.Sync(filepath.Dir(at))); err != nil {
			errs = append(errs, e.fail(replicator.KindOther, d.Name, "move it away from there yourself", fmt.Errorf("what was written is kept as %s: %w", at, err)))
		}
	}
	if len(done.Disks) > 0 {
		e.out.Emit(done)
	}
	return errors.Join(errs...)
}

// spaceAgain is how often a file system that was full is tried.
const spaceAgain = 5 * time.Second

// patiently makes a copy. What was written is in no other place than the overlay, so a full
// file system is waited for: somebody may make room.
func (e *export) patiently(ctx context.Context, i int) error {
	for told := false; ; {
		err := e.copy(ctx, i)
		if err == nil || !noSpace(err) {
			return err
		}
		if !told {
			told = true
			e.out.Emit(event.Warning{Disk: e.disks[i].Name, Message: filepath.Dir(e.copies[i].path) +
				" is full; free space there, and what was written is kept; interrupt once more to give it up"})
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(spaceAgain):
		}
	}
}

// copy writes a copy under a temporary name and makes it durable.
func (e *export) copy(ctx context.Context, i int) error {
	c, d := &e.copies[i], e.disks[i]
	if c.temp == "" {
		if _, err := passable.MkdirAll(filepath.Dir(c.path)); err != nil {
			return err
		}
		f, err := os.CreateTemp(filepath.Dir(c.path), ".vmsync-export-"+filepath.Base(c.path)+"-*")
		if err != nil {
			return err
		}
		c.temp = f.Name()
		if err := f.Close(); err != nil {
			return err
		}
	}
	tell := func(part float64) {
		e.out.Emit(event.Progress{Disk: d.Name, Size: d.Size, Done: int64(part * float64(d.Size)), Total: d.Size})
	}
	err := pinned.Steady(ctx, e.pin, d.Image, func() error {
		if err := qemu.Check(ctx, d.overlay); err != nil { // its server may have been killed
			return err
		}
		return qemu.Convert(ctx, qemu.Copy{From: d.overlay, To: c.temp, Format: qemu.FormatQcow2}, tell)
	})
	if err == nil {
		err = qemu.Check(ctx, c.temp)
	}
	if err != nil {
		_ = os.Truncate(c.temp, 0) // what is there is of no use, and takes room
		return err
	}
	return newfile.Sync(c.temp)
}

// keepError tells of a disk that was not kept.
func (e *export) keepError(i int, err error) error {
	kind := replicator.KindOther
	if noSpace(err) {
		kind = replicator.KindNoSpace
	}
	return e.fail(kind, e.disks[i].Name, "see the error; the state is as it was", fmt.Errorf("what was written is not kept as %s: %w", e.copies[i].path, err))
}

// dropTemps removes what did not get its name.
func (e *export) dropTemps() error {
	var errs []error
	for _, c := range e.copies {
		if c.temp != "" {
			errs = append(errs, os.Remove(c.temp))
		}
	}
	return errors.Join(errs...)
}
