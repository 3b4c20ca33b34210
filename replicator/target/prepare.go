package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// clients is how many connections vmsync-nbd may make to each qemu-nbd.
const clients = 8

// Prepare implements replicator.TargetEnd.
func (t *Target) Prepare(ctx context.Context, req replicator.PrepareRequest, progress func(replicator.Progress)) (_ *replicator.Prepared, err error) {
	if t.readOnly {
		return nil, t.fail(replicator.KindSequence, "prepare", "", "", errors.New("only a look was asked for"))
	}
	if t.prep != nil {
		if err := t.discard(); err != nil {
			return nil, err
		}
	}
	if err := t.mayChange(ctx); err != nil {
		return nil, err
	}
	if err := t.leaveRoom("prepare"); err != nil {
		return nil, err
	}
	if err := t.reserve(req); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.prep = &preparation{req: req, cancel: cancel, disks: make([]receiving, len(req.Disks)),
		dir: filepath.Join(runRoot, fmt.Sprintf("%s-%d", t.manifest.Pair, req.Generation))}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.discard())
		}
	}()
	if err := t.stage(ctx); err != nil {
		return nil, err
	}
	faultpoint.Hit("target-staged")
	if err := os.MkdirAll(t.prep.dir, 0o700); err != nil {
		return nil, t.fail(replicator.KindOther, "make a folder for sockets", "", "", err)
	}
	doc := spec.Apply{Version: spec.Version, Domain: req.Domain, Checkpoint: req.Checkpoint, Parent: req.Parent,
		Listen: filepath.Join(t.prep.dir, "apply.sock"), Lanes: req.Lanes, Patience: req.Patience}
	if req.Direct != nil {
		doc.Direct = &spec.Direct{Addresses: req.Direct.Addresses, Certificate: req.Direct.Certificate}
	}
	prepared := &replicator.Prepared{Socket: doc.Listen}
	if err := t.learn(ctx, progress); err != nil {
		return nil, err
	}
	faultpoint.Hit("target-learnt")
	for i, d := range req.Disks {
		r := &t.prep.disks[i]
		if err := t.serveDisk(ctx, run, r); err != nil {
			return nil, t.storeError("prepare an image", d.Name, err)
		}
		doc.Disks = append(doc.Disks, t.applyDisk(d, r))
		if r.known != "" {
			prepared.Known = append(prepared.Known, replicator.KnownDisk{Name: d.Name, Partial: d.Incremental, Resumed: r.resumed})
		}
	}
	t.prep.session, err = dataplane.Start(ctx, t.program, dataplane.Apply, doc)
	var ready spec.Event
	if err == nil {
		ready, err = t.prep.session.Ready(ctx)
	}
	if err != nil {
		return nil, t.fail(replicator.KindOther, "start vmsync-nbd on the target", "", "", err)
	}
	prepared.NotDirect = ready.Why
	if ready.Address != "" {
		prepared.Direct = &replicator.DirectTarget{Address: ready.Address, Certificate: ready.Certificate}
	}
	return prepared, nil
}

// reserve spends the generation before anything bears its name, here or on the
// source, and has a replica without states adopt the pair if that is asked for.
func (t *Target) reserve(req replicator.PrepareRequest) error {
	const op = "reserve a generation"
	for _, d := range req.Disks {
		// Files and sockets are named by it, and it may come from anybody.
		if err := store.CheckDiskName(d.Name); err != nil {
			return t.fail(replicator.KindRequest, op, d.Name, "nothing was changed", err)
		}
	}
	pair, generation, ok := replicator.ParseCheckpointName(req.Checkpoint)
	head := t.manifest.Head()
	switch {
	case !ok || generation != req.Generation:
		return fmt.Errorf("checkpoint %q is not of generation %d", req.Checkpoint, req.Generation)
	case pair != t.manifest.Pair && (!req.Adopt || head != nil):
		return fmt.Errorf("checkpoint %s is not of pair %s", req.Checkpoint, t.manifest.Pair)
	case head != nil && req.Generation <= head.Generation:
		return fmt.Errorf("generation %d is not newer than the head's, %d", req.Generation, head.Generation)
	}
	m := *t.manifest
	// The source counts, too: of a stream that was sent, it alone does. So a number may
	// come that a failed run here had reserved, of which nothing is left.
	m.LastGeneration = max(m.LastGeneration, req.Generation)
	if pair != m.Pair {
		t.before = t.manifest
		m.Pair, m.LastGeneration, m.Source = pair, req.Generation, store.Source{}
	}
	if !req.Adopt {
		t.fresh = false // the source is about to learn the pair
	}
	return t.save(&m)
}

// serveDisk serves a disk's new image, to be written.
func (t *Target) serveDisk(ctx, run context.Context, r *receiving) error {
	e := qemu.Export{Image: t.folder.Path(r.Image), Socket: filepath.Join(t.prep.dir, r.Name+".sock"), Name: r.Name, Clients: clients}
	server, err := qemu.Serve(ctx, run, e)
	if err != nil {
		return err
	}
	r.server = server
	return nil
}

// applyDisk is what vmsync-nbd is told of a disk.
func (t *Target) applyDisk(d replicator.PrepareDisk, r *receiving) spec.ApplyDisk {
	e := r.server.Export()
	a := spec.ApplyDisk{Name: d.Name, Socket: e.Socket, Export: e.Name, Size: d.Size,
		Incremental: d.Incremental || r.known != "", Index: t.folder.Path(store.IndexName(r.Image)), Resume: r.indexed}
	if r.Backing != "" {
		for _, name := range t.manifest.Indexes(r.Backing) {
			a.Parents = append(a.Parents, t.folder.Path(name))
		}
		a.ParentContent = t.headDisk(d.Name).Content
	}
	return a
}

// headDisk finds a disk of the head.
func (t *Target) headDisk(name string) *store.Disk {
	if head := t.manifest.Head(); head != nil {
		return head.Disk(name)
	}
	return nil
}

// own gives an image to root and qemu's group, so that a domain whose host has
// libvirt's dynamic ownership switched off can read it too, and nobody else.
func (t *Target) own(path string, mode os.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chown(path, 0, t.qemuGID)
}

// storeError tells a full file system from other failures of the store.
func (t *Target) storeError(op, disk string, err error) error {
	kind, hint := replicator.KindStore, "see the error; the replica is as it was"
	if isNoSpace(err) {
		kind, hint = replicator.KindNoSpace, t.freeSpaceHint()
	}
	return t.fail(kind, op, disk, hint, err)
}

func (t *Target) freeSpaceHint() string {
	return fmt.Sprintf("free space on the file system of %s (vmsync prune %s --keep N); the replica there is as it was", t.folder.Dir(), t.domain)
}

// stop ends the children and removes their sockets. Images are closed and
// consistent when it returns nil.
func (p *preparation) stop() error {
	var errs []error
	if p.session != nil {
		p.session.Stop()
	}
	for i := range p.disks {
		if s := p.disks[i].server; s != nil {
			errs = append(errs, s.Stop())
		}
		p.disks[i].server = nil
	}
	p.session = nil
	p.cancel()
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// discard undoes a Prepare.
func (t *Target) discard() error {
	p := t.prep
	t.prep, t.received = nil, nil
	if p.session != nil {
		p.session.Stop()
	}
	for _, d := range p.disks {
		if d.server != nil {
			d.server.Kill() // an image that is thrown away need not be closed well
		}
	}
	p.cancel()
	errs := []error{os.RemoveAll(p.dir), t.unstage(p.names())}
	if t.before != nil {
		errs = append(errs, t.save(t.before))
		t.before = nil
	}
	return errors.Join(errs...)
}

// leave ends a Prepare whose stream did not come to its end, but keeps what came for
// the next run.
func (t *Target) leave() error {
	p := t.prep
	t.prep = nil
	err := p.stop()
	var known []string
	for _, d := range p.disks {
		if d.known != "" && d.known != store.IndexName(d.Image) {
			known = append(known, d.known)
		}
	}
	return errors.Join(err, t.folder.Remove(known...))
}
