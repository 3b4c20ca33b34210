package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/event"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// write writes everything, under temporary names where there are names.
func (r *restore) write(ctx context.Context) error {
	if r.dest.kind == folder {
		_, err := os.Stat(r.dest.path)
		r.madeFolder = errors.Is(err, fs.ErrNotExist)
		if err := os.MkdirAll(r.dest.path, 0o711); err != nil {
			return r.fail(replicator.KindOther, "", "", err)
		}
	}
	for i := range r.pieces {
		p := &r.pieces[i]
		var err error
		if p.disk != nil {
			err = r.writeDisk(ctx, p)
		} else {
			err = r.copySmall(p)
		}
		if err != nil {
			return r.writeError(p, err)
		}
	}
	return nil
}

// writeError tells what could not be written.
func (r *restore) writeError(p *piece, err error) error {
	kind, disk, hint := replicator.KindOther, "", "nothing was left behind; see the error"
	if p.disk != nil {
		disk = p.disk.Name
	}
	if p.held != nil {
		hint = "the device holds a part of the disk now; restore again"
	}
	if errors.Is(err, qemu.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind, err = replicator.KindNoSpace, fmt.Errorf("%s is full: %w", filepath.Dir(p.path), err)
		hint = "free space there, or restore elsewhere; nothing was left behind"
	}
	return r.fail(kind, disk, hint, err)
}

// makeTemp makes an empty file beside a piece's final name.
func (p *piece) makeTemp() error {
	f, err := os.CreateTemp(filepath.Dir(p.path), ".vmsync-restore-"+filepath.Base(p.path)+"-*")
	if err != nil {
		return err
	}
	p.temp = f.Name()
	return f.Close()
}

// written is where a piece's bytes are until it is placed.
func (p *piece) written() string {
	if p.held != nil {
		return p.path
	}
	return p.temp
}

const (
	// again is how long to wait for somebody who is merging the state's images, and
	// patience for how long in all.
	again    = 500 * time.Millisecond
	patience = 30 * time.Minute
)

// writeDisk copies a disk and makes the copy durable. While a sync reshapes the images one
// of them may be locked, or just being renamed: what the state's image reads as is the same
// afterwards.
func (r *restore) writeDisk(ctx context.Context, p *piece) error {
	if p.held == nil {
		if err := p.makeTemp(); err != nil {
			return err
		}
	}
	c := qemu.Copy{From: r.pin.Path(p.disk.Image), To: p.written(), Format: p.format, Device: p.held != nil}
	tell := func(part float64) {
		r.out.Emit(event.Progress{Disk: p.disk.Name, Size: p.disk.Size, Done: int64(part * float64(p.disk.Size)), Total: p.disk.Size})
	}
	for start := time.Now(); ; {
		before := r.chainNow(p)
		err := qemu.Convert(ctx, c, tell)
		if err == nil {
			break
		}
		moved := errors.Is(err, qemu.ErrInUse) || r.chainNow(p) != before
		if ctx.Err() != nil || !moved || errors.Is(err, qemu.ErrNoSpace) || time.Since(start) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(again):
		}
	}
	return syncPath(p.written())
}

// chainNow tells a disk's images from those that they are reshaped to.
func (r *restore) chainNow(p *piece) string {
	m, err := store.Read(r.req.Store, r.req.Domain)
	if err != nil {
		return err.Error()
	}
	var all string
	for _, img := range m.Chain(p.disk.Image) {
		var st syscall.Stat_t
		_ = syscall.Stat(r.pin.Path(img.Name), &st) // one that is not there has number 0
		all += fmt.Sprintf("%s %d ", img.Name, st.Ino)
	}
	return fmt.Sprint(all, m.Step)
}

// maxSmall bounds a file that is copied whole, in bytes.
const maxSmall = 128 << 20

func (r *restore) copySmall(p *piece) error {
	from := r.pin.Path(p.from)
	if st, err := os.Stat(from); err != nil || st.Size() > maxSmall {
		return errors.Join(err, fmt.Errorf("%s is missing or too large", from))
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := p.makeTemp(); err != nil {
		return err
	}
	if err := os.WriteFile(p.temp, b, 0o600); err != nil {
		return err
	}
	return syncPath(p.temp)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// check reads back what was written.
func (r *restore) check(ctx context.Context) error {
	for i := range r.pieces {
		p := &r.pieces[i]
		if p.disk == nil {
			continue
		}
		e := qemu.Export{Image: p.written(), Raw: p.format == qemu.FormatRaw, Socket: filepath.Join(r.dir, "nbd.sock"), Name: p.disk.Name, Clients: 8, ReadOnly: true}
		if p.held != nil {
			e.Size = p.disk.Size // it may be larger
		}
		d := spec.HashDisk{Name: p.disk.Name, Size: p.disk.Size, Out: filepath.Join(r.dir, p.disk.Name+".idx")}
		result, err := dataplane.HashImage(ctx, r.program, e, d, func(s spec.Progress) {
			r.out.Emit(event.Progress{Disk: s.Disk, Size: s.Size, Done: s.Done, Total: s.Total})
		})
		if err != nil {
			return r.fail(replicator.KindOf(err), p.disk.Name, "", fmt.Errorf("read what was written: %w", err))
		}
		if err := os.Remove(d.Out); err != nil {
			return r.fail(replicator.KindOther, p.disk.Name, "", err)
		}
		if result.Content != p.disk.Content {
			return r.fail(replicator.KindDamaged, p.disk.Name, "vmsync verify "+r.req.Domain+"@"+r.pin.State.ID+" tells whether the replica is damaged; if not, suspect the destination",
				fmt.Errorf("what was written reads as %s, and the state was received as %s", result.Content, p.disk.Content))
		}
	}
	return nil
}

// place gives everything its final name.
func (r *restore) place() error {
	r.done = &event.Restored{Domain: r.req.Domain, State: r.pin.State.ID}
	for i := range r.pieces {
		p := &r.pieces[i]
		if p.held == nil {
			if err := r.rename(p); err != nil {
				return r.writeError(p, err)
			}
		}
		if p.disk != nil {
			r.done.Disks = append(r.done.Disks, event.RestoredDisk{Disk: p.disk.Name, Path: p.path, Format: p.format, Size: p.disk.Size})
		} else {
			r.done.Files = append(r.done.Files, p.path)
		}
	}
	if r.dest.kind == device {
		return nil
	}
	for _, dir := range []string{filepath.Dir(r.pieces[0].path), filepath.Dir(filepath.Dir(r.pieces[0].path))} {
		if err := syncPath(dir); err != nil {
			return r.fail(replicator.KindOther, "", "", err)
		}
	}
	for i := range r.pieces {
		r.pieces[i].temp = "" // nothing is to be cleaned up any more
	}
	return nil
}

// rename gives a piece its final name, which must be free unless it may be overwritten.
func (r *restore) rename(p *piece) error {
	var err error
	if r.req.Force {
		err = os.Rename(p.temp, p.path)
	} else {
		err = unix.Renameat2(unix.AT_FDCWD, p.temp, unix.AT_FDCWD, p.path, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot
			if _, err = os.Lstat(p.path); errors.Is(err, fs.ErrNotExist) {
				err = os.Rename(p.temp, p.path)
			} else if err == nil {
				err = fs.ErrExist
			}
		}
		if err != nil {
			err = &os.PathError{Op: "rename to", Path: p.path, Err: err}
		}
	}
	p.placed = err == nil
	return err
}

// cleanUp removes what was not brought to its end, and lets the device go.
func (r *restore) cleanUp() error {
	var errs []error
	for _, p := range r.pieces {
		switch {
		case p.held != nil:
			errs = append(errs, p.held.Close())
		case p.temp == "":
		case p.placed:
			errs = append(errs, os.Remove(p.path))
		default:
			errs = append(errs, os.Remove(p.temp))
		}
	}
	if r.madeFolder {
		_ = os.Remove(r.dest.path) // fails unless it is empty
	}
	return errors.Join(errs...)
}
