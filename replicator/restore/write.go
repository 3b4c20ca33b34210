package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"vmsync/internal/event"
	"vmsync/internal/newfile"
	"vmsync/internal/passable"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/pinned"
)

// write writes everything, under temporary names where there are names.
func (r *restore) write(ctx context.Context) error {
	if r.dest.kind == folder {
		_, err := os.Stat(r.dest.path)
		r.madeFolder = errors.Is(err, fs.ErrNotExist)
		if _, err := passable.MkdirAll(r.dest.path); err != nil {
			return r.fail(replicator.KindOther, "", "", err)
		}
	}
	for i := range r.pieces {
		p := &r.pieces[i]
		var err error
		if p.disk != nil {
			err = r.writeDisk(ctx, p)
		} else {
			err = r.copyKept(p)
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
	if errors.Is(err, store.ErrAltered) {
		kind, hint = replicator.KindDamaged, "nothing was left behind; vmsync verify "+r.req.Domain+"@"+r.pin.State.ID+" tells what else is damaged"
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

// writeDisk copies a disk and makes the copy durable.
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
	err := pinned.Steady(ctx, r.pin, p.disk.Image, func() error { return qemu.Convert(ctx, c, tell) })
	if err != nil {
		return err
	}
	return newfile.Sync(p.written())
}

// copyKept copies one of the state's files that are no images.
func (r *restore) copyKept(p *piece) error {
	b, err := r.pin.State.ReadKept(r.pin.Dir(), p.from)
	if err != nil {
		return err
	}
	if err := p.makeTemp(); err != nil {
		return err
	}
	if err := os.WriteFile(p.temp, b, 0o600); err != nil {
		return err
	}
	return newfile.Sync(p.temp)
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
		if err := newfile.Sync(dir); err != nil {
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
		err = newfile.Place(p.temp, p.path)
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
