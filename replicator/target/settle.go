package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/target/tree"
)

// Settle implements replicator.TargetEnd.
//
// Its order keeps every instant safe to crash at and to start the domain at: the domain
// is pointed at the new head before older states go, and an image goes only when nothing
// refers to it any more.
func (t *Target) Settle(ctx context.Context) (*replicator.Settled, error) {
	settled, _, err := t.settle(ctx)
	return settled, err
}

// settle tells besides whether there was anything to do.
func (t *Target) settle(ctx context.Context) (*replicator.Settled, bool, error) {
	settled := &replicator.Settled{}
	if len(t.manifest.States) == 0 {
		return settled, false, nil
	}
	worked := false
	var defineErr error
	if !t.pointed() {
		worked = true
		// Data goes on being kept in order while somebody sees to libvirt.
		if defineErr = t.point(ctx); defineErr != nil && replicator.KindOf(defineErr) != replicator.KindDefine {
			return nil, false, defineErr
		}
	}
	faultpoint.Hit("target-before-merge")
	held, err := t.retain(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, h := range held {
		settled.Warnings = append(settled.Warnings, "kept longer than the policy says: "+h)
	}
	images := tree.Tree{Folder: t.folder, Manifest: t.manifest, Own: func(path string) error { return t.own(path, 0o640) }}
	n, err := images.Reshape(ctx)
	t.manifest = images.Manifest
	worked = worked || n > 0
	switch {
	case isNoSpace(err), errors.Is(err, qemu.ErrInUse):
		// Every state reads right through its overlays; the next run merges them.
		settled.Warnings = append(settled.Warnings, fmt.Sprintf("overlays could not be merged yet: %v", err))
	case err != nil:
		return nil, false, t.fail(replicator.KindStore, "merge overlays", "", "every state is complete; the next run tries again", err)
	}
	faultpoint.Hit("target-before-sweep")
	if _, err := t.sweep(); err != nil {
		return nil, false, err
	}
	return settled, worked, defineErr
}

func (t *Target) save(m *store.Manifest) error {
	if err := t.folder.Save(m); err != nil {
		return t.storeError("save the manifest", "", err)
	}
	t.manifest = m
	return nil
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
	debris, err := t.folder.Debris(t.manifest)
	if err != nil {
		return nil, nil, t.storeError("look for leftovers", "", err)
	}
	settled, worked, err := t.settle(ctx)
	switch {
	case replicator.KindOf(err) == replicator.KindDefine:
		// The data goes on being replicated while somebody sees to libvirt.
		warnings = append(warnings, err.Error())
	case err != nil:
		return nil, nil, err
	default:
		warnings = settled.Warnings
	}
	if worked && err == nil && t.pointed() {
		cleaned = append(cleaned, "finished committing state "+t.manifest.Head().ID)
	}
	if len(t.manifest.States) == 0 {
		if debris, err = t.sweep(); err != nil {
			return nil, nil, err
		}
	}
	if len(debris) > 0 {
		cleaned = append(cleaned, "removed "+strings.Join(debris, ", "))
	}
	return cleaned, warnings, nil
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
