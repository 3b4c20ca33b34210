package target

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// receiving is one disk that is being received.
type receiving struct {
	store.StagedDisk
	server *qemu.Server
	// resumed is set when the image holds what an earlier run has received.
	resumed bool
	// indexed is set when the image's block index is there and right.
	indexed bool
	// known is the file, relative to the folder, with the block index of what the target
	// holds of the disk; empty where the source is to send all that it finds.
	known string
}

// stage makes the images to receive into, or takes over those of a run that did not
// come to its end, and lists them in the manifest, so that what becomes of this run
// the next one finds explained.
func (t *Target) stage(ctx context.Context) error {
	p := t.prep
	old := t.manifest.Staged
	for i, d := range p.req.Disks {
		r := &p.disks[i]
		r.StagedDisk = store.StagedDisk{Name: d.Name, Size: d.Size, Image: store.ImageName(d.Name, p.req.Generation)}
		if d.Incremental {
			r.Parent = p.req.Parent
		}
		if d.Incremental || d.Resync {
			base := t.headDisk(d.Name)
			if base == nil {
				return t.fail(replicator.KindSequence, "prepare an image", d.Name, "", errors.New("the store has no such disk to build on"))
			}
			r.Backing = base.Image
		}
	}
	m := *t.manifest
	m.Staged = nil
	if p.req.Resume {
		m.Staged = &store.Staged{Generation: p.req.Generation}
		for _, r := range p.disks {
			m.Staged.Disks = append(m.Staged.Disks, r.StagedDisk)
		}
	}
	if err := t.save(&m); err != nil {
		return err
	}
	for i := range p.disks {
		r := &p.disks[i]
		if p.req.Resume {
			r.resumed = t.takeOver(ctx, old, r.StagedDisk)
		}
		if r.resumed {
			continue
		}
		if err := t.create(ctx, r.StagedDisk); err != nil {
			return t.storeError("prepare an image", r.Name, err)
		}
	}
	return t.removeStaged(old, p.names())
}

// takeOver gives an image of an earlier run the name it is to have in this one, if it
// is sound and holds what this one can go on with.
func (t *Target) takeOver(ctx context.Context, old *store.Staged, want store.StagedDisk) bool {
	if old == nil {
		return false
	}
	i := slices.IndexFunc(old.Disks, func(d store.StagedDisk) bool { return resumable(d, want) })
	if i < 0 {
		return false
	}
	from, to := t.folder.Path(old.Disks[i].Image), t.folder.Path(want.Image)
	if err := qemu.Check(ctx, from); err != nil {
		return false // whoever wrote it was killed at a bad moment
	}
	return os.Rename(from, to) == nil
}

// resumable tells whether a run that wants an image can go on with one that is there. If
// only what changed since a checkpoint is looked at, all that the image holds must have
// changed since that one. Where the whole disk is looked at, whatever it holds is
// compared.
func resumable(have, want store.StagedDisk) bool {
	return have.Name == want.Name && have.Size == want.Size && have.Backing == want.Backing &&
		(want.Parent == "" || have.Parent == want.Parent)
}

// create makes an empty image.
func (t *Target) create(ctx context.Context, d store.StagedDisk) error {
	path := t.folder.Path(d.Image)
	err := t.folder.Remove(d.Image, store.IndexName(d.Image))
	switch {
	case err != nil:
	case d.Backing != "":
		err = qemu.CreateOverlay(ctx, path, filepath.Base(d.Backing), d.Size)
	default:
		err = qemu.Create(ctx, path, d.Size)
	}
	if err != nil {
		return err
	}
	return t.own(path, 0o640)
}

// removeStaged removes the images of an earlier run but those in use now.
func (t *Target) removeStaged(old *store.Staged, keep []string) error {
	if old == nil {
		return nil
	}
	for _, d := range old.Disks {
		if slices.Contains(keep, d.Image) {
			continue
		}
		if err := t.folder.Remove(d.Image, store.IndexName(d.Image)); err != nil {
			return t.storeError("remove leftovers", d.Name, err)
		}
	}
	return nil
}

// unstage removes images that were staged, and takes them out of the manifest.
func (t *Target) unstage(images []string) error {
	// The files first: they may be what leaves no room for a manifest. One that is listed
	// and not there is not taken over.
	for _, name := range images {
		if err := t.folder.Remove(name, store.IndexName(name), knownName(name)); err != nil {
			return t.storeError("remove leftovers", "", err)
		}
	}
	if t.manifest.Staged == nil {
		return nil
	}
	m := *t.manifest
	m.Staged = nil
	return t.save(&m)
}
