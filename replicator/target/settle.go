package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// Settle implements replicator.TargetEnd.
//
// Its order keeps every instant safe to crash at and to start the domain at:
// before an overlay is merged into its base the domain is pointed at a run
// overlay that reads through both, so that a half-merged base is never seen
// alone; before an image goes, nothing refers to it any more.
func (t *Target) Settle(ctx context.Context) (*replicator.Settled, error) {
	head := t.manifest.Head()
	if head == nil {
		return &replicator.Settled{}, nil
	}
	if err := t.point(ctx, head.Disks); err != nil {
		return nil, err
	}
	faultpoint.Hit("target-before-merge")
	settled := &replicator.Settled{}
	merged, err := t.merge(ctx, head)
	switch {
	case errors.Is(err, qemu.ErrNoSpace), errors.Is(err, qemu.ErrInUse):
		// The state reads right through its overlays; the next run merges them.
		settled.Warnings = append(settled.Warnings, fmt.Sprintf("the overlays of state %s could not be merged yet: %v", head.ID, err))
		return settled, nil
	case err != nil:
		return nil, t.fail(replicator.KindStore, "merge overlays", "", "the state is complete; the next run tries again", err)
	case merged != nil:
		faultpoint.Hit("target-after-merge")
		if err := t.point(ctx, merged); err != nil {
			return nil, err
		}
	}
	faultpoint.Hit("target-before-sweep")
	if _, err := t.sweep(); err != nil {
		return nil, err
	}
	return settled, nil
}

// merge merges each disk's overlays into its base and returns the disks as they
// are then, or nil if there was nothing to merge. The manifest still lists the
// overlays: they go out of use only when the domain has been pointed past them.
func (t *Target) merge(ctx context.Context, head *store.State) ([]store.Disk, error) {
	var disks []store.Disk
	any := false
	for _, d := range head.Disks {
		// From the top down each overlay is merged into the one below, so that every
		// image above the point reached so far reads the same throughout.
		for i := len(d.Images) - 1; i > 0; i-- {
			any = true
			if err := qemu.Commit(ctx, t.folder.Path(d.Images[i])); err != nil {
				return nil, fmt.Errorf("disk %s: %w", d.Name, err)
			}
			if err := t.folder.SyncFiles(d.Images[i-1]); err != nil {
				return nil, fmt.Errorf("disk %s: %w", d.Name, err)
			}
		}
		d.Images = d.Images[:1:1]
		disks = append(disks, d)
	}
	if !any {
		return nil, nil
	}
	return disks, nil
}

// point makes run overlays over the tops of disks, points the domain at them,
// and then lists disks as the head's.
func (t *Target) point(ctx context.Context, disks []store.Disk) error {
	old := t.manifest.Run
	fresh, err := t.makeRun(ctx, disks)
	if err != nil {
		return t.storeError("make run overlays", "", err)
	}
	// Both sets are listed while the domain may refer to either.
	m := *t.manifest
	m.Run = append(append([]store.RunOverlay{}, old...), fresh...)
	if m.TargetUUID == "" {
		if m.TargetUUID, err = t.chooseUUID(ctx); err != nil {
			return t.fail(replicator.KindUnreachable, "choose the replica's UUID", "", "", err)
		}
	}
	if err := t.save(&m); err != nil {
		return err
	}
	if err := t.define(ctx, fresh); err != nil {
		return err
	}
	// Somebody may have started the domain before it was redefined: it then runs on
	// the old overlays, which must stay.
	if err := t.refuseActive(ctx); err != nil {
		return err
	}
	m.Run = fresh
	head := m.States[len(m.States)-1]
	head.Disks = disks
	m.States = append(append([]store.State{}, m.States[:len(m.States)-1]...), head)
	return t.save(&m)
}

func (t *Target) save(m *store.Manifest) error {
	if err := t.folder.Save(m); err != nil {
		return t.storeError("save the manifest", "", err)
	}
	t.manifest = m
	return nil
}

// makeRun makes an empty overlay over each disk's top image.
func (t *Target) makeRun(ctx context.Context, disks []store.Disk) ([]store.RunOverlay, error) {
	var fresh []store.RunOverlay
	generation := t.manifest.Head().Generation
	serial := t.nextSerial(generation)
	var names []string
	for _, d := range disks {
		name := store.RunName(d.Name, generation, serial)
		path := t.folder.Path(name)
		if err := t.folder.Remove(name); err != nil { // of a run that died right here
			return nil, err
		}
		if err := qemu.CreateOverlay(ctx, path, "../"+d.Top(), d.Size); err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		if err := t.own(path, 0o660); err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		sum, err := fileSum(path)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Name, err)
		}
		fresh = append(fresh, store.RunOverlay{Disk: d.Name, Image: name, Base: d.Top(), SHA256: sum})
		names = append(names, name)
	}
	return fresh, t.folder.SyncFiles(names...)
}

// nextSerial gives a serial that no listed run overlay of this generation has.
func (t *Target) nextSerial(generation int64) int {
	serial := 1
	for taken := true; taken; {
		taken = false
		for _, r := range t.manifest.Run {
			if r.Image == store.RunName(r.Disk, generation, serial) {
				taken = true
				serial++
				break
			}
		}
	}
	return serial
}

// recover completes what a dead run of this replica left undone, and removes
// its debris. It says in words what it did.
func (t *Target) recover(ctx context.Context) (cleaned, warnings []string, err error) {
	dirs, _ := filepath.Glob(filepath.Join(runRoot, t.manifest.Pair+"-*"))
	for _, d := range dirs {
		if err := removeAll(d); err != nil {
			return nil, nil, err
		}
	}
	if !t.settledAlready() {
		s, err := t.Settle(ctx)
		if replicator.KindOf(err) == replicator.KindDefine {
			// The data goes on being replicated while somebody sees to libvirt.
			return nil, []string{err.Error()}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		warnings = s.Warnings
		cleaned = append(cleaned, "finished committing state "+t.manifest.Head().ID)
	}
	if len(warnings) > 0 {
		return cleaned, warnings, nil
	}
	removed, err := t.sweep()
	if err != nil {
		return nil, nil, err
	}
	if len(removed) > 0 {
		cleaned = append(cleaned, "removed "+strings.Join(removed, ", "))
	}
	return cleaned, warnings, nil
}

// settledAlready tells whether the domain points at the head, and no overlay
// waits to be merged.
func (t *Target) settledAlready() bool {
	head := t.manifest.Head()
	if head == nil {
		return true
	}
	over := map[string]string{}
	for _, r := range t.manifest.Run {
		if over[r.Disk] != "" {
			return false
		}
		over[r.Disk] = r.Base
	}
	for _, d := range head.Disks {
		if len(d.Images) > 1 || over[d.Name] != d.Top() {
			return false
		}
	}
	for _, r := range t.manifest.Run {
		if _, err := os.Stat(t.folder.Path(r.Image)); err != nil {
			return false // deleted to give up what a started replica wrote
		}
	}
	return len(over) == len(head.Disks)
}

// sweep removes files that nothing refers to.
func (t *Target) sweep() ([]string, error) {
	debris, err := t.folder.Debris(t.manifest)
	if err == nil {
		err = t.folder.Remove(debris...)
	}
	if err != nil {
		return nil, t.storeError("remove leftovers", "", err)
	}
	return debris, nil
}
