package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/internal/store"
	"vmsync/replicator"
)

// lookOnly is Open for somebody who only wants to know. What a run would refuse is in
// the view, not an error.
func (t *Target) lookOnly(ctx context.Context, req replicator.OpenRequest) (*replicator.TargetView, error) {
	folder, err := store.Unlocked(filepath.Clean(req.Store), req.TargetDomain)
	if err != nil {
		return nil, t.fail(replicator.KindUsage, "open the store", "", "", err)
	}
	t.folder = folder
	look := &replicator.TargetLook{Free: freeSpace(folder.Dir())}
	view := &replicator.TargetView{Folder: folder.Dir(), ReachedAt: t.reachedAt, Look: look}
	refused(look, t.havePrograms())
	refused(look, t.connect(ctx))
	view.HostID = t.hostID
	if t.manifest, err = folder.Load(); err != nil {
		images, ierr := folder.Images()
		if !errors.Is(err, fs.ErrNotExist) || ierr != nil || len(images) > 0 {
			refused(look, t.fail(replicator.KindStore, "open the store", "", "nothing touches it until that is put right", err))
		} else if t.virt != nil {
			t.manifest = &store.Manifest{}
			refused(look, t.refuseForeign(ctx))
		}
		return view, nil
	}
	view.Pair, view.UUID, view.LastUsed = t.manifest.Pair, t.manifest.Source.UUID, t.manifest.LastGeneration
	t.lookAtHead(view)
	look.Exists = true
	return view, t.lookAtReplica(ctx, look)
}

// refused notes why a run would refuse.
func refused(look *replicator.TargetLook, err error) {
	if err != nil {
		look.Refused = append(look.Refused, replicator.AsError(err))
	}
}

// freeSpace is how many bytes are free on the file system of a folder, or of the nearest
// one above it that is there; 0 if nobody can tell.
func freeSpace(dir string) int64 {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			return int64(st.Bavail) * st.Bsize
		}
		up := filepath.Dir(dir)
		if up == dir {
			return 0
		}
		dir = up
	}
}

func (t *Target) lookAtReplica(ctx context.Context, look *replicator.TargetLook) error {
	const op = "look at the replica's folder"
	m := t.manifest
	look.Source, look.Role, look.States = m.Source.Host, string(m.Role), len(m.States)
	t.lookAtUse(ctx, look)
	refused(look, t.refuseReadOnlyStore())
	refused(look, t.leaveRoom("keep another state"))
	for i := range m.States {
		if damage := m.Damage(&m.States[i]); damage != "" {
			look.Damaged = append(look.Damaged, m.States[i].ID+": "+damage)
		}
	}
	held, err := t.folder.Holders(ctx)
	if err != nil {
		return t.fail(replicator.KindStore, op, "", "", err)
	}
	for _, g := range slices.Sorted(maps.Keys(held)) {
		for _, h := range held[g] {
			look.Pinned = append(look.Pinned, h.State+": "+h.String())
		}
	}
	images, err := t.folder.Images()
	if err == nil {
		look.Allocated, err = t.folder.Allocated(images...)
	}
	if err == nil {
		look.InUse, err = t.folder.InUse()
	}
	if err == nil && !look.InUse {
		err = t.lookForLeftovers(look, held)
	}
	if err != nil {
		return t.fail(replicator.KindStore, op, "", "", err)
	}
	return nil
}

// lookAtUse tells whether the replica is one, and whether it runs or was run.
func (t *Target) lookAtUse(ctx context.Context, look *replicator.TargetLook) {
	refused(look, t.refuseRole())
	if t.virt == nil {
		return // and this is known already
	}
	if dom, err := t.virt.Lookup(ctx, t.domain); err == nil {
		if state, err := dom.State(ctx); err == nil {
			look.Domain = state.String()
		}
	}
	refused(look, t.refuseForeign(ctx))
	refused(look, t.refuseUsed(ctx))
}

// lookForLeftovers names what recover would complete or remove, and what was staged.
func (t *Target) lookForLeftovers(look *replicator.TargetLook, held store.Held) error {
	m := *t.manifest
	dirs, err := filepath.Glob(filepath.Join(runRoot, m.Pair+"-*"))
	if err != nil {
		return err
	}
	left := func(format string, args ...any) {
		look.Leftovers = append(look.Leftovers, fmt.Sprintf(format, args...))
	}
	for _, dir := range dirs {
		left("the folder %s of a dead run", dir)
	}
	debris, err := t.folder.Debris(&m)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(debris) > 0 {
		left("files of dead runs: %s", strings.Join(debris, ", "))
	}
	if s := t.bootable(); s != nil && !t.pointed() {
		left("the replica's domain, which is not there or does not boot the state that it should, %s", s.ID)
	}
	policy, err := policyOf(&m)
	if err != nil {
		refused(look, t.fail(replicator.KindStore, "read the keep policy", "", "", err))
		return nil
	}
	look.Keep = policy.String()
	for _, g := range surplus(t.storeDir(), &m, policy) {
		if len(held[g]) == 0 {
			left("state %s, which the policy does not keep", m.State(g).ID)
		}
	}
	if m.Step != nil {
		left("%s", stepText(m.Step))
	} else if m.DropUnneeded(); m.NextStep() != nil {
		left("%s", stepText(m.NextStep()))
	}
	if m.Staged != nil {
		for _, d := range m.Staged.Disks {
			look.Staged = append(look.Staged, d.Name)
		}
	}
	return nil
}

func stepText(s *store.Step) string {
	if s.Op == store.StepShorten {
		return fmt.Sprintf("the image %s, whose chain is to be shortened", s.Image)
	}
	return fmt.Sprintf("the image %s, which is to be merged into %s", s.Image, s.Onto)
}
