package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vmsync/internal/blockindex"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// knownName names the file for the index of what an image reads as.
func knownName(image string) string { return store.TempName(store.IndexName(image)) }

// learn finds out what the target holds of the disks that the source need not send
// in full. It does not believe what was once written down, but reads the images.
func (t *Target) learn(ctx context.Context, progress func(replicator.Progress)) error {
	for i, d := range t.prep.req.Disks {
		r := &t.prep.disks[i]
		var err error
		switch {
		case d.Incremental && r.resumed:
			// Only what the image itself holds is of interest: all else that the source
			// looks at has changed.
			r.known = store.IndexName(r.Image)
			_, err = t.hash(ctx, r.StagedDisk, r.known, true, progress)
		case r.resumed && r.Backing == "":
			r.known = store.IndexName(r.Image)
			_, err = t.hash(ctx, r.StagedDisk, r.known, false, progress)
		case d.Resync:
			r.known = knownName(r.Image)
			err = t.learnOverlay(ctx, r, progress)
		default:
			continue
		}
		if err != nil {
			return err
		}
		r.indexed = true
	}
	return nil
}

// learnOverlay reads all that an overlay reads as, and makes its own index: of what is
// not as the indexes under it say.
func (t *Target) learnOverlay(ctx context.Context, r *receiving, progress func(replicator.Progress)) error {
	content, err := t.hash(ctx, r.StagedDisk, r.known, false, progress)
	if err != nil {
		return err
	}
	base := t.headDisk(r.Name)
	if !r.resumed && base.Size == r.Size && content != base.Content {
		return t.damaged(r.Name, base.Image, "it does not read as it did when it was received")
	}
	if err := t.folder.Remove(store.IndexName(r.Image)); err != nil {
		return t.storeError("index an image", r.Name, err)
	}
	if err := t.indexDifference(ctx, r); err != nil {
		return t.storeError("index an image", r.Name, err)
	}
	return nil
}

// indexDifference writes what is in the known index and not in those under the image.
func (t *Target) indexDifference(ctx context.Context, r *receiving) (err error) {
	var under []string
	for _, name := range t.manifest.Indexes(r.Backing) {
		under = append(under, t.folder.Path(name))
	}
	parents, err := blockindex.OpenChain(under...)
	if err != nil {
		return err
	}
	defer parents.Close()
	known, err := blockindex.OpenChain(t.folder.Path(r.known))
	if err != nil {
		return err
	}
	defer known.Close()
	out, err := blockindex.Create(t.folder.Path(store.IndexName(r.Image)), r.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for block, derr := range blockindex.Diff(ctx, parents, known) {
		if derr != nil {
			return derr
		}
		if block >= out.Blocks() {
			continue
		}
		h, err := known.Lookup(block)
		if err != nil {
			return err
		}
		if err := out.Set(block, h); err != nil {
			return err
		}
	}
	return out.Sync()
}

// damaged marks an image as damaged and returns the error that tells of it.
func (t *Target) damaged(disk, image, what string) error {
	m := *t.manifest
	m.Images = append([]store.Image{}, m.Images...)
	m.Image(image).Damaged = what
	if err := t.save(&m); err != nil {
		return err
	}
	return t.fail(replicator.KindDamaged, "read what is stored", disk, "", fmt.Errorf("%s is damaged: %s", t.folder.Path(image), what))
}

// hash makes a block index of an image: of all that it reads as, or, with top, of what
// it holds itself. It returns the content's digest, which means something without top
// only.
func (t *Target) hash(ctx context.Context, d store.StagedDisk, out string, top bool, progress func(replicator.Progress)) (string, error) {
	const op = "read what is stored"
	if err := t.folder.Remove(out); err != nil {
		return "", t.storeError(op, d.Name, err)
	}
	if err := os.MkdirAll(t.prep.dir, 0o700); err != nil {
		return "", t.storeError(op, d.Name, err)
	}
	e := qemu.Export{Image: t.folder.Path(d.Image), Socket: filepath.Join(t.prep.dir, d.Name+".read.sock"), Name: d.Name, Clients: clients,
		ReadOnly: true, Depth: true}
	result, err := dataplane.HashImage(ctx, t.program, e, spec.HashDisk{Name: d.Name, Size: d.Size, Top: top, Out: t.folder.Path(out)}, progress)
	if err != nil {
		var re *replicator.Error
		if errors.As(err, &re) {
			re.Domain = t.domain
			return "", err
		}
		return "", t.storeError(op, d.Name, err)
	}
	return result.Content, nil
}

// Known implements replicator.TargetEnd.
func (t *Target) Known(_ context.Context, req replicator.KnownRequest) (*replicator.KnownPart, error) {
	if t.prep == nil {
		return nil, errors.New("known called before prepare")
	}
	for _, r := range t.prep.disks {
		if r.Name != req.Disk || r.known == "" {
			continue
		}
		part, err := replicator.ReadPart(t.folder.Path(r.known), req.Offset)
		if err != nil {
			return nil, t.storeError("read a block index", r.Name, err)
		}
		part.Disk = r.Name
		return part, nil
	}
	return nil, t.fail(replicator.KindSequence, "read a block index", req.Disk, "", errors.New("nothing is known of this disk"))
}
