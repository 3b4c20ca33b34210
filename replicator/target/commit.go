package target

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
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
	if err := t.verify(ctx); err != nil {
		return nil, err
	}
	state, err := t.newState(req)
	if err != nil {
		return nil, err
	}
	m := *t.manifest
	m.Source = store.Source{Domain: req.SourceDomain, UUID: req.SourceUUID, Host: req.SourceHost, HostID: req.SourceHostID}
	m.States = []store.State{*state}
	if err := t.folder.WriteFile(state.DomainXML, []byte(req.DomainXML)); err != nil {
		return nil, t.storeError("keep the domain's XML", "", err)
	}
	faultpoint.Hit("target-before-commit")
	// From this rename on, and not before, the state exists.
	if err := t.folder.Save(&m); err != nil {
		return nil, t.storeError("commit", "", err)
	}
	faultpoint.Hit("target-after-commit")
	t.manifest = &m
	t.fresh, t.before = false, nil
	t.prep, t.received = nil, nil
	return &replicator.Committed{State: state.ID}, nil
}

// verify checks the structure of every new image and makes it durable.
func (t *Target) verify(ctx context.Context) error {
	for i, name := range t.prep.images {
		disk := t.prep.req.Disks[i].Name
		if err := qemu.Check(ctx, t.folder.Path(name)); err != nil {
			return t.fail(replicator.KindStore, "check the new image", disk, "run it again; the replica is as it was", err)
		}
	}
	if err := t.folder.SyncFiles(t.prep.images...); err != nil {
		return t.storeError("make the new images durable", "", err)
	}
	return nil
}

// newState describes the state that was received.
func (t *Target) newState(req replicator.CommitRequest) (*store.State, error) {
	p := t.prep.req
	s := &store.State{ID: t.manifest.StateID(req.Time, p.Generation), Generation: p.Generation, Checkpoint: p.Checkpoint, Parent: p.Parent,
		Time: req.Time.UTC(), Consistency: string(req.Consistency), FrozenSeconds: req.Frozen.Seconds(),
		DomainXML: store.XMLName(p.Generation), LeftOut: req.LeftOut}
	incremental := 0
	for i, d := range p.Disks {
		res := slices.IndexFunc(t.received.Disks, func(r replicator.DiskResult) bool { return r.Name == d.Name })
		if res < 0 || !slices.Contains(req.Disks, t.received.Disks[res]) {
			return nil, t.fail(replicator.KindStream, "commit", d.Name, "run it again", errors.New("what was sent is not what was received"))
		}
		r := t.received.Disks[res]
		disk := store.Disk{Name: d.Name, Size: d.Size, Images: []string{t.prep.images[i]},
			Stream: store.Stream{Incremental: d.Incremental, DataBytes: r.DataBytes, ZeroBytes: r.ZeroBytes, Digest: r.Digest}}
		if d.Incremental {
			incremental++
			disk.Images = slices.Clone(t.headDisk(d.Name).Images)
			// An overlay of a disk that did not change would only lengthen the chain.
			if r.DataBytes+r.ZeroBytes > 0 {
				disk.Images = append(disk.Images, t.prep.images[i])
			}
		}
		s.Disks = append(s.Disks, disk)
	}
	switch incremental {
	case 0:
		s.Kind = "full"
	case len(p.Disks):
		s.Kind = "incremental"
	default:
		s.Kind = "mixed"
	}
	return s, nil
}

// isNoSpace recognises a full file system, whoever met it.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, qemu.ErrNoSpace)
}
