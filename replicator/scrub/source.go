package scrub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/internal/event"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/internal/workdir"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// fromSource begins what is said of an image that is not what its source held. Reading
// the image back does not show that, and so does not take it back.
const fromSource = "it differs from the source: "

// AgainstSource compares the head with what its source held when the head's checkpoint was
// made, by hashes that each host makes of its own disks. What the source has changed since
// cannot be compared and is told. An error of KindDamaged says that there is a difference
// beyond that, which the manifest now knows.
//
// State and All of the request are not used. The source must be fresh; it is not closed.
func AgainstSource(ctx context.Context, req Request, src replicator.SourceEnd, out event.Sink) (err error) {
	s := &scrub{req: req, out: out, program: req.program, images: map[string]*finding{}}
	if s.program == "" {
		if s.program, err = dataplane.Program(); err != nil {
			return err
		}
	}
	dir, err := workdir.Make("vmsync-verify")
	if err != nil {
		return s.fail(replicator.KindOther, "verify", "", err)
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	s.dir = dir.Path
	pin, err := Pin(ctx, req.Store, req.Domain, store.Latest, "verify against the source")
	if err != nil {
		return err
	}
	defer pin.Release()
	s.pins, s.manifest = []*store.Pin{pin}, pin.Manifest
	c := &comparison{scrub: s, src: src, head: pin.State}
	if err := replicator.Phase(out, event.PhaseInspect, func() error { return c.look(ctx) }); err != nil {
		return err
	}
	if err := replicator.Phase(out, event.PhaseCompare, func() error { return c.compare(ctx) }); err != nil {
		return err
	}
	if err := replicator.Phase(out, event.PhaseMark, func() error { return s.mark(ctx) }); err != nil {
		return err
	}
	if c.different > 0 {
		return s.fail(replicator.KindDamaged, "compare with the source", "sync again: the next sync sends a full copy",
			fmt.Errorf("%d of the disks of state %s differ from what the source held", c.different, c.head.ID))
	}
	return nil
}

// comparison is one comparison with a source.
type comparison struct {
	*scrub
	src       replicator.SourceEnd
	head      *store.State
	used      int64 // highest generation that either side knows
	different int   // disks
}

// look makes sure that the source can be compared with the head.
func (c *comparison) look(ctx context.Context) error {
	const op = "look at the source"
	from := c.manifest.Source
	view, err := c.src.Inspect(ctx, replicator.InspectRequest{Domain: from.Domain})
	if err != nil {
		return err
	}
	sync := "sync first, then compare"
	switch {
	case view.UUID != from.UUID:
		return c.fail(replicator.KindOtherMachine, op, "is --source-uri right?", fmt.Errorf("domain %s there has UUID %s, the replica was made of %s", view.Name, view.UUID, from.UUID))
	case !view.Running:
		return c.fail(replicator.KindDomainOff, op, "start it, or wait for its next start", fmt.Errorf("the domain is %s", view.State))
	case view.JobLost:
		return c.fail(replicator.KindJobActive, op, "vmsync doctor says what helps", fmt.Errorf("libvirt holds the domain for a %s", view.BusyWith))
	case view.BusyWith != "":
		return c.fail(replicator.KindJobActive, op, "try again when it is done", fmt.Errorf("another job runs there: %s", view.BusyWith))
	}
	c.used = c.manifest.LastGeneration
	for _, p := range view.Checkpoints {
		c.used = max(c.used, p.Generation)
	}
	i := slices.IndexFunc(view.Checkpoints, func(p replicator.SourceCheckpoint) bool { return p.Name == c.head.Checkpoint })
	if i < 0 {
		return c.fail(replicator.KindNoCheckpoint, op, sync, fmt.Errorf("the source has no checkpoint %s any more, so nobody knows what has changed since", c.head.Checkpoint))
	}
	for _, d := range c.head.Disks {
		k := slices.IndexFunc(view.Disks, func(v replicator.SourceDisk) bool { return v.Name == d.Name })
		switch {
		case k < 0 || !slices.Contains(view.Checkpoints[i].Disks, d.Name):
			return c.fail(replicator.KindNoCheckpoint, op, sync, fmt.Errorf("checkpoint %s does not track disk %s", c.head.Checkpoint, d.Name))
		case view.Disks[k].Size != d.Size:
			return c.fail(replicator.KindChanged, op, sync, fmt.Errorf("disk %s was resized since, from %d to %d bytes", d.Name, d.Size, view.Disks[k].Size))
		}
	}
	return nil
}

// compare has both sides hash what they hold, and compares that.
func (c *comparison) compare(ctx context.Context) error {
	req := replicator.BeginRequest{HashOnly: true, Checkpoint: replicator.CheckpointName(c.manifest.Pair, c.used+1), Parent: c.head.Checkpoint}
	for _, d := range c.head.Disks {
		req.Disks = append(req.Disks, replicator.BeginDisk{Name: d.Name, Parent: c.head.Checkpoint})
	}
	begun, err := c.src.Begin(ctx, req)
	if replicator.KindOf(err) == replicator.KindCheckpointInconsistent {
		return c.fail(replicator.KindNoCheckpoint, "compare with the source", "sync first, then compare", err)
	}
	if err != nil {
		return err
	}
	for i, d := range c.head.Disks {
		if i >= len(begun.Disks) || begun.Disks[i].Size != d.Size {
			return c.fail(replicator.KindChanged, "compare with the source", "sync first, then compare", fmt.Errorf("disk %s was resized just now", d.Name))
		}
	}
	read, err := c.hashBoth(ctx)
	if err != nil {
		return err
	}
	// The guest's machine is rid of the job as soon as may be.
	if err := c.src.Finish(ctx, nil); err != nil {
		return err
	}
	for i := range c.head.Disks {
		if err := c.judgeDisk(ctx, &c.head.Disks[i], read); err != nil {
			return err
		}
	}
	return nil
}

// hashBoth returns when the source and this host have read the disks, with what the source
// has read of each in bytes.
func (c *comparison) hashBoth(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent *replicator.StreamResult
	var theirs, ours error
	var wg sync.WaitGroup
	wg.Go(func() {
		sent, theirs = c.src.Wait(ctx, func(p replicator.Progress) {
			c.out.Emit(event.Progress{Disk: p.Disk, Size: p.Size, Scanned: p.Scanned, Found: p.Found, Total: p.Total, Done: p.Done})
		})
		if theirs != nil {
			cancel()
		}
	})
	wg.Go(func() {
		if ours = c.hashHead(ctx); ours != nil {
			cancel()
		}
	})
	wg.Wait()
	if theirs != nil && (ours == nil || !errors.Is(theirs, context.Canceled)) {
		return nil, theirs
	}
	if ours != nil {
		return nil, ours
	}
	read := map[string]int64{}
	for _, d := range sent.Disks {
		read[d.Name] = d.DataBytes
	}
	return read, nil
}

// hashHead reads the head's disks through all of their images.
func (c *comparison) hashHead(ctx context.Context) error {
	for _, d := range c.head.Disks {
		e := qemu.Export{Image: c.path(d.Image), Socket: filepath.Join(c.dir, "nbd.sock"), Name: d.Name, Clients: clients, ReadOnly: true}
		doc := spec.HashDisk{Name: d.Name, Size: d.Size, Out: c.indexOf(d.Name, "target")}
		for start := time.Now(); ; {
			_, err := dataplane.HashImage(ctx, c.program, e, doc, nil)
			if err == nil {
				break
			}
			if ctx.Err() != nil || !errors.Is(err, qemu.ErrInUse) || time.Since(start) > patience {
				return c.fail(replicator.KindOf(err), "read what is stored", "vmsync verify "+c.req.Domain+" tells whether it is damaged", fmt.Errorf("disk %s: %w", d.Name, err))
			}
			if err := pause(ctx, lookAgain); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *comparison) indexOf(disk, side string) string {
	return filepath.Join(c.dir, disk+"."+side+".idx")
}

// judgeDisk compares the hashes of one disk.
func (c *comparison) judgeDisk(ctx context.Context, d *store.Disk, read map[string]int64) error {
	const op = "compare with the source"
	if err := c.fetch(ctx, d.Name); err != nil {
		return err
	}
	theirs, err := blockindex.OpenChain(c.indexOf(d.Name, "source"))
	if err != nil {
		return c.fail(replicator.KindOther, op, "", err)
	}
	defer theirs.Close()
	ours, err := blockindex.OpenChain(c.indexOf(d.Name, "target"))
	if err != nil {
		return c.fail(replicator.KindOther, op, "", err)
	}
	defer ours.Close()
	if theirs.Size() != d.Size {
		return c.fail(replicator.KindRequest, op, "", fmt.Errorf("the source's index of disk %s is of %d bytes, not %d", d.Name, theirs.Size(), d.Size))
	}
	e := event.Compared{Domain: c.req.Domain, State: c.head.ID, Disk: d.Name, Read: read[d.Name], Equal: d.Size}
	for block, err := range blockindex.Diff(ctx, ours, theirs) {
		if err != nil {
			return c.fail(replicator.KindOther, op, "", err)
		}
		at := block * blockindex.BlockSize
		length := min(blockindex.BlockSize, d.Size-at)
		e.Equal -= length
		h, err := theirs.Lookup(block)
		switch {
		case err != nil:
			return c.fail(replicator.KindOther, op, "", err)
		case h == replicator.ChangedSince:
			e.Changed += length
			continue
		case e.Different == 0:
			e.First = at
		}
		e.Different += length
	}
	c.out.Emit(e)
	img := c.manifest.Image(d.Image)
	f := &finding{image: *img, damage: img.Damaged}
	switch {
	case e.Different > 0:
		c.different++
		if f.damage == "" || strings.HasPrefix(f.damage, fromSource) {
			f.damage = fmt.Sprintf("%s%d bytes, the first at offset %d", fromSource, e.Different, e.First)
		}
	case strings.HasPrefix(f.damage, fromSource):
		f.damage = ""
	}
	c.images[d.Image] = f
	return nil
}

// fetch gets the source's index of a disk.
func (c *comparison) fetch(ctx context.Context, disk string) (err error) {
	const op = "get the source's hashes"
	f, err := os.OpenFile(c.indexOf(disk, "source"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return c.fail(replicator.KindOther, op, "", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	most := 2*blockindex.Blocks(c.head.Disk(disk).Size)*16 + 1<<20
	for at := int64(0); ; {
		p, err := c.src.Hashed(ctx, replicator.KnownRequest{Disk: disk, Offset: at})
		if err != nil {
			return err
		}
		if p.Offset < at || p.Size > most || p.Offset+int64(len(p.Data)) > p.Size || p.Next <= at {
			return c.fail(replicator.KindRequest, op, "", errors.New("a part of an index that makes no sense"))
		}
		if err := f.Truncate(p.Size); err != nil {
			return c.fail(replicator.KindOther, op, "", err)
		}
		if _, err := f.WriteAt(p.Data, p.Offset); err != nil {
			return c.fail(replicator.KindOther, op, "", err)
		}
		if at = p.Next; at >= p.Size {
			return nil
		}
	}
}
