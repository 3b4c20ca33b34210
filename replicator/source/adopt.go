package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// Libvirt keeps the definitions of checkpoints, qemu their bitmaps, in the images.
// The definitions are lost when a domain is undefined, or with `virsh
// checkpoint-delete --metadata`; the bitmaps then go on tracking changes, and nobody
// sees them. Here is how a run makes use of such a bitmap, and how it gets rid of one.

// adopt has libvirt know the checkpoints again that the request names, for the disks
// that build on them. An error of kind checkpoint-inconsistent says that a bitmap is
// not there or not usable; everything is as it was then.
func (e *End) adopt(ctx context.Context, req replicator.BeginRequest) error {
	pair, _, ok := replicator.ParseCheckpointName(req.Checkpoint)
	for _, name := range req.Adopt {
		op := "define checkpoint " + name + " again"
		if of, _, own := replicator.ParseCheckpointName(name); !own || !ok || of != pair || name == req.Checkpoint || slices.Contains(req.Forget, name) {
			return e.fail(replicator.KindRequest, op, "", fmt.Errorf("%q is not a checkpoint of pair %s to build on", name, pair))
		}
		disks := parentedBy(req, name)
		if len(disks) == 0 || slices.ContainsFunc(e.checkpoints, func(c replicator.SourceCheckpoint) bool { return c.Name == name }) {
			continue
		}
		e.stray[name] = true
		if err := e.redefine(ctx, name, disks, true); err != nil {
			kind := kindOf(err)
			switch kind {
			case replicator.KindCanceled, replicator.KindUnreachable, replicator.KindDenied, replicator.KindUnknownDomain, replicator.KindJobActive:
			default:
				kind = replicator.KindCheckpointInconsistent
			}
			return e.fail(kind, op, "", err)
		}
		delete(e.stray, name)
		_, generation, _ := replicator.ParseCheckpointName(name)
		e.checkpoints = append(e.checkpoints, replicator.SourceCheckpoint{Name: name, Generation: generation, Disks: disks})
		e.log.Info("libvirt had lost a checkpoint and knows it again", "domain", e.dom.Name, "checkpoint", name)
	}
	return nil
}

// parentedBy lists the disks of a request that build on a checkpoint.
func parentedBy(req replicator.BeginRequest, checkpoint string) []string {
	var disks []string
	for _, d := range req.Disks {
		if d.Parent == checkpoint {
			disks = append(disks, d.Name)
		}
	}
	return disks
}

func (e *End) redefine(ctx context.Context, name string, disks []string, validate bool) error {
	c := libvirt.Checkpoint{Name: name, Description: "made by vmsync; libvirt had lost its definition", Disks: disks}
	for _, d := range e.drives {
		if !slices.Contains(disks, d.Name) {
			c.Others = append(c.Others, d.Name)
		}
	}
	err := e.dom.RedefineCheckpoint(ctx, c, time.Now(), validate)
	if validate && errors.Is(err, libvirt.ErrInvalidArg) {
		// This libvirt cannot validate. It looks at the bitmaps when the backup begins.
		err = e.dom.RedefineCheckpoint(ctx, c, time.Now(), false)
	}
	return err
}

// dropBitmaps deletes what bitmaps of a checkpoint there are, on whichever disks.
// Libvirt does not know the checkpoint. The domain runs.
//
// Libvirt deletes the bitmaps of a checkpoint only if all of them are there, so each
// disk is given a checkpoint of its own.
func (e *End) dropBitmaps(ctx context.Context, name string) error {
	for _, d := range e.drives {
		if disk := e.disks[d.Name]; disk.Unfit != "" || disk.Ignored {
			continue
		}
		if err := e.redefine(ctx, name, []string{d.Name}, false); err != nil {
			return err
		}
		if err := e.dom.DeleteCheckpoint(ctx, name, false); err == nil {
			e.log.Info("bitmap deleted", "domain", e.dom.Name, "checkpoint", name, "disk", d.Name)
			continue
		}
		// There is none on this disk.
		if err := e.dom.DeleteCheckpoint(ctx, name, true); err != nil {
			return err
		}
	}
	return nil
}

// lookForOrphans finds the bitmaps of vmsync's names, in the images, whose checkpoint
// libvirt does not know.
func (e *End) lookForOrphans(view *replicator.SourceView) {
	found := make(map[string][]string)
	for _, d := range e.drives {
		if disk := e.disks[d.Name]; disk.Unfit != "" || disk.Ignored {
			continue
		}
		names, err := storedBitmaps(d.Path)
		if err != nil {
			// They can stay where they are: all that is lost is room.
			e.log.Info("bitmaps cannot be listed", "domain", e.dom.Name, "disk", d.Name, "error", err)
			continue
		}
		for _, name := range names {
			found[name] = append(found[name], d.Name)
		}
	}
	for _, c := range e.checkpoints {
		delete(found, c.Name)
	}
	var orphans []libvirt.Checkpoint
	for name, disks := range found {
		orphans = append(orphans, libvirt.Checkpoint{Name: name, Disks: disks})
	}
	view.Orphans = vmsyncCheckpoints(orphans)
	for _, o := range view.Orphans {
		e.stray[o.Name] = true
	}
}
