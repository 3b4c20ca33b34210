package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"vmsync/internal/blockindex"
	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
	"vmsync/internal/retention"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// Commit implements replicator.TargetEnd.
func (t *Target) Commit(ctx context.Context, req replicator.CommitRequest) (*replicator.Committed, error) {
	if t.prep == nil || t.received == nil {
		return nil, errors.New("commit called before a stream was received")
	}
	if err := t.prep.stop(); err != nil {
		return nil, t.storeError("close the new images", "", err)
	}
	if err := t.leaveRoom("commit"); err != nil {
		return nil, err
	}
	if err := t.verify(ctx); err != nil {
		return nil, err
	}
	m, err := t.newManifest(req)
	if err != nil {
		return nil, err
	}
	state := m.Head()
	for name, content := range map[string][]byte{state.DomainXML: []byte(req.DomainXML), state.NVRAM: req.NVRAM, state.TPM: req.TPM} {
		if name == "" {
			continue
		}
		if err := t.folder.Keep(state, name, content); err != nil {
			return nil, t.storeError("keep the domain's definition", "", err)
		}
	}
	if err := t.mayChange(ctx); err != nil {
		return nil, err
	}
	faultpoint.Hit("target-before-commit")
	// From this rename on, and not before, the state exists.
	if err := t.folder.Save(m); err != nil {
		return nil, t.storeError("commit", "", err)
	}
	faultpoint.Hit("target-after-commit")
	t.manifest = m
	t.fresh, t.before = false, nil
	t.prep, t.received = nil, nil
	return &replicator.Committed{State: state.ID}, nil
}

// verify checks the structure of every new image and makes it durable.
func (t *Target) verify(ctx context.Context) error {
	var files []string
	for _, d := range t.prep.disks {
		if err := qemu.Check(ctx, t.folder.Path(d.Image)); err != nil {
			t.useless = true
			return t.fail(replicator.KindStore, "check the new image", d.Name, "run it again; the replica is as it was", err)
		}
		files = append(files, d.Image, store.IndexName(d.Image))
	}
	if err := t.folder.SyncFiles(files...); err != nil {
		return t.storeError("make the new images durable", "", err)
	}
	return nil
}

// newManifest is the manifest with the state that was received.
func (t *Target) newManifest(req replicator.CommitRequest) (*store.Manifest, error) {
	m := *t.manifest
	m.Source = store.Source{Domain: req.SourceDomain, UUID: req.SourceUUID, Host: req.SourceHost, HostID: req.SourceHostID}
	m.Staged = nil
	if req.Keep != "" {
		policy, err := retention.Parse(req.Keep)
		if err != nil {
			return nil, t.fail(replicator.KindUsage, "commit", "", "", err)
		}
		m.Keep = policy.String()
	}
	state, images, err := t.newState(req)
	if err != nil {
		return nil, err
	}
	m.States = append(slices.Clone(m.States), *state)
	m.Images = append(slices.Clone(m.Images), images...)
	return &m, nil
}

// newState describes the state that was received, and the images that it brings.
func (t *Target) newState(req replicator.CommitRequest) (*store.State, []store.Image, error) {
	p := t.prep.req
	s := &store.State{ID: t.manifest.StateID(req.Time, p.Generation), Generation: p.Generation, Checkpoint: p.Checkpoint, Parent: p.Parent,
		Time: req.Time.UTC(), Consistency: string(req.Consistency), FrozenSeconds: req.Frozen.Seconds(),
		DomainXML: store.XMLName(p.Generation), LeftOut: req.LeftOut, Group: (*store.Group)(req.Group)}
	if len(req.NVRAM) > 0 {
		s.NVRAM = store.NVRAMName(p.Generation)
	}
	if len(req.TPM) > 0 {
		s.TPM = store.TPMName(p.Generation)
	}
	var images []store.Image
	kinds := map[string]bool{}
	for i, d := range p.Disks {
		disk, fresh, err := t.newDisk(req, d, t.prep.disks[i])
		if err != nil {
			return nil, nil, err
		}
		s.Disks = append(s.Disks, *disk)
		if fresh != nil {
			images = append(images, *fresh)
		}
		kinds[kindOf(d)] = true
	}
	s.Kind = "mixed"
	if len(kinds) == 1 {
		s.Kind = kindOf(p.Disks[0])
	}
	return s, images, nil
}

// kindOf says in one word how a disk came.
func kindOf(d replicator.PrepareDisk) string {
	switch {
	case d.Incremental:
		return "incremental"
	case d.Resync:
		return "resync"
	}
	return "full"
}

// newDisk describes one disk that was received, and its image if it has one of its own.
func (t *Target) newDisk(req replicator.CommitRequest, d replicator.PrepareDisk, r receiving) (*store.Disk, *store.Image, error) {
	named := func(r replicator.DiskResult) bool { return r.Name == d.Name }
	sent, got := slices.IndexFunc(req.Disks, named), slices.IndexFunc(t.received.Disks, named)
	if sent < 0 || got < 0 || !t.received.Disks[got].SameStream(req.Disks[sent]) {
		return nil, nil, t.fail(replicator.KindStream, "commit", d.Name, "run it again", errors.New("what was sent is not what was received"))
	}
	res := t.received.Disks[got]
	if _, err := blockindex.ParseDigest(res.Content); err != nil {
		return nil, nil, t.fail(replicator.KindOther, "commit", d.Name, "", fmt.Errorf("vmsync-nbd did not say what the disk holds now: %w", err))
	}
	disk := &store.Disk{Name: d.Name, Size: d.Size, Image: r.Image, Content: res.Content,
		Stream: store.Stream{Incremental: d.Incremental, Resync: d.Resync, DataBytes: res.DataBytes, ZeroBytes: res.ZeroBytes, Digest: res.Digest}}
	if head := t.headDisk(d.Name); d.Incremental && !r.resumed && res.DataBytes+res.ZeroBytes == 0 && head.Size == d.Size {
		// An overlay of a disk that did not change would only lengthen the chain.
		disk.Image = head.Image
		return disk, nil, nil
	}
	return disk, &store.Image{Name: r.Image, Disk: d.Name, Size: d.Size, Backing: r.Backing}, nil
}

// isNoSpace recognises a full file system, whoever met it.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, qemu.ErrNoSpace)
}
