package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/qemu"
	"vmsync/internal/retention"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/target/tree"
)

// Admin works on a replica of this host that no run works on, without its source. It is
// for one goroutine.
type Admin struct{ t *Target }

// Administer takes the run's lock on a replica. It waits for a while for a run to end;
// then the error is of KindBusy. A replica that the store does not have gives an error
// of KindNoReplica. The caller closes the admin.
func Administer(ctx context.Context, storeDir, domain string) (*Admin, error) {
	t := &Target{domain: domain, qemuGID: -1}
	err := replicator.Patiently(ctx, func() (err error) {
		t.folder, err = store.LockExisting(storeDir, domain)
		if errors.Is(err, store.ErrBusy) {
			return t.fail(replicator.KindBusy, "open the store", "", "", &replicator.BusyError{What: err.Error()})
		}
		return err
	})
	if err == nil {
		if t.manifest, err = t.folder.Load(); err != nil {
			err = errors.Join(err, t.folder.Unlock())
		}
	}
	if err != nil {
		return nil, NoReplica(storeDir, domain, err)
	}
	return &Admin{t}, nil
}

// NoReplica explains an error in reading a replica of a store.
func NoReplica(storeDir, domain string, err error) error {
	var e *replicator.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &replicator.Error{Kind: replicator.KindNoReplica, Domain: domain, Op: "open the store",
			Hint: "vmsync states --store " + storeDir + " lists those that there are",
			Err:  fmt.Errorf("%s holds no replica of this name", storeDir)}
	}
	return &replicator.Error{Kind: replicator.KindStore, Domain: domain, Op: "open the store", Hint: "nothing was changed", Err: err}
}

// Close releases the replica.
func (a *Admin) Close() error {
	if a.t.virt != nil {
		a.t.virt.Close()
	}
	return a.t.folder.Unlock()
}

// Removed is what became of states that were to go.
type Removed struct {
	States   []string // ids of those that went, oldest first
	Held     []string // those that somebody uses and that stayed, in words
	Freed    int64    // bytes on disk
	Warnings []string
}

// Delete takes states off the list and gives their space back; all of them, or none. It
// refuses those that the replica cannot do without, and, with KindPinned, those that
// somebody uses. It needs no libvirt.
func (a *Admin) Delete(ctx context.Context, names []string) (*Removed, error) {
	const op = "delete states"
	t := a.t
	var generations []int64
	for _, name := range names {
		s, err := t.manifest.Find(name)
		if err != nil {
			return nil, t.fail(replicator.KindNoState, op, "", "see: vmsync states "+t.domain, err)
		}
		if err := a.mayGo(s); err != nil {
			return nil, err
		}
		generations = append(generations, s.Generation)
	}
	m := *t.manifest
	err := t.folder.WithPins(ctx, func(held store.Held) error {
		inUse := store.Held{}
		for _, g := range generations {
			if len(held[g]) > 0 {
				inUse[g] = held[g]
			}
		}
		if err := inUse.Err(); err != nil {
			return t.fail(replicator.KindPinned, op, "", "end that first; nothing was deleted", err)
		}
		m.States = slices.DeleteFunc(slices.Clone(m.States), func(s store.State) bool { return slices.Contains(generations, s.Generation) })
		return t.folder.Save(&m)
	})
	if replicator.KindOf(err) == replicator.KindOther {
		err = t.storeError(op, "", err)
	}
	if err != nil {
		return nil, err
	}
	return a.removed(ctx, &m)
}

// mayGo refuses the states that syncs, or the domain, need.
func (a *Admin) mayGo(s *store.State) error {
	const op = "delete states"
	m := a.t.manifest
	switch {
	case s == m.Head():
		return a.t.fail(replicator.KindUsage, op, "", "delete older ones, or give all of it up: virsh undefine "+a.t.domain+", and remove "+a.t.folder.Dir(),
			fmt.Errorf("%s is the newest state: the replica boots it, and the next sync brings what has changed since", s.ID))
	case s == m.Sound():
		return a.t.fail(replicator.KindUsage, op, "", "run a sync first: it makes a sound one",
			fmt.Errorf("%s is the newest state that is not damaged: the replica boots it", s.ID))
	}
	return nil
}

// removed finishes what began with a manifest that lists fewer states.
func (a *Admin) removed(ctx context.Context, m *store.Manifest) (*Removed, error) {
	t := a.t
	before, err := a.allocated()
	if err != nil {
		return nil, err
	}
	r := &Removed{States: gone(t.manifest, m)}
	t.manifest = m
	if r.Warnings, err = t.reshapeUnattended(ctx); err != nil {
		return r, err
	}
	after, err := a.allocated()
	r.Freed = max(0, before-after)
	return r, err
}

func (a *Admin) allocated() (int64, error) {
	images, err := a.t.folder.Images()
	if err != nil {
		return 0, a.t.storeError("look at the images", "", err)
	}
	n, err := a.t.folder.Allocated(images...)
	if err != nil {
		return 0, a.t.storeError("look at the images", "", err)
	}
	return n, nil
}

// gone names the states of a manifest that another one does not list.
func gone(was, is *store.Manifest) []string {
	var ids []string
	for _, s := range was.States {
		if is.State(s.Generation) == nil {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// reshapeUnattended gives the images the shape that the states need, and removes what
// nothing needs. It needs no libvirt: what it makes anew gets the owner of what it
// replaces.
func (t *Target) reshapeUnattended(ctx context.Context) (warnings []string, err error) {
	images := tree.Tree{Folder: t.folder, Manifest: t.manifest, Own: ownLike}
	_, err = images.Reshape(ctx)
	t.manifest = images.Manifest
	switch {
	case isNoSpace(err), errors.Is(err, qemu.ErrInUse):
		warnings = append(warnings, fmt.Sprintf("some images could not be merged yet, the next run does it: %v", err))
	case err != nil:
		return nil, t.fail(replicator.KindStore, "merge overlays", "", "every state is complete; the next run tries again", err)
	}
	_, err = t.sweep()
	return warnings, err
}

// ownLike gives a file that is to take another one's place the owner and mode of that.
func ownLike(path string) error {
	old := filepath.Join(filepath.Dir(path), strings.TrimPrefix(filepath.Base(path), filepath.Base(store.TempName(""))))
	var st unix.Stat_t
	if err := unix.Stat(old, &st); err != nil {
		return &os.PathError{Op: "stat", Path: old, Err: err}
	}
	if err := os.Chmod(path, os.FileMode(st.Mode&0o777)); err != nil {
		return err
	}
	return os.Chown(path, int(st.Uid), int(st.Gid))
}

// Prune takes off the list what a policy does not keep, the replica's own where keep is
// empty, and gives the space back. The policy is not stored. It needs no libvirt.
func (a *Admin) Prune(ctx context.Context, keep string) (*Removed, error) {
	t := a.t
	doomed, err := Doomed(t.storeDir(), t.manifest, keep)
	if err != nil {
		return nil, err
	}
	m := *t.manifest
	held, err := t.folder.Unlist(ctx, &m, doomed...)
	if err != nil {
		return nil, t.storeError("take states off the list", "", err)
	}
	r, err := a.removed(ctx, &m)
	if herr := held.Err(); r != nil && herr != nil {
		r.Held = strings.Split(herr.Error(), "; ")
	}
	return r, err
}

// Doomed lists the generations of a replica in a store that may go by a policy, the
// replica's own where keep is empty.
func Doomed(storeDir string, m *store.Manifest, keep string) ([]int64, error) {
	policy, err := policyOf(m)
	if keep != "" {
		policy, err = retention.Parse(keep)
	}
	if err != nil {
		return nil, &replicator.Error{Kind: replicator.KindUsage, Domain: m.TargetDomain, Op: "read the keep policy", Err: err}
	}
	return surplus(storeDir, m, policy), nil
}

// Discarded is what a started replica wrote to one disk.
type Discarded struct {
	Disk  string
	Bytes int64 // on disk
}

// DiscardRun gives up what a replica wrote that was started, and points its domain at
// fresh overlays. It returns nothing where there is nothing to give up. It refuses a
// replica that runs, with KindReplicaActive, and one that took over, with KindRole.
func (a *Admin) DiscardRun(ctx context.Context) ([]Discarded, error) {
	const op = "discard what the replica wrote"
	t := a.t
	if t.manifest.Role == store.RoleActive {
		return nil, t.fail(replicator.KindRole, op, "", "what it wrote is the machine's only copy; nothing was changed",
			errors.New("the replica is active: it took over from its source"))
	}
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	if err := t.refuseForeign(ctx); err != nil {
		return nil, err
	}
	if err := t.refuseActive(ctx); err != nil {
		return nil, err
	}
	written, err := t.written()
	if err != nil || len(written) == 0 && t.pointed() {
		return nil, err
	}
	if err := t.repoint(ctx); err != nil {
		return nil, err
	}
	_, err = t.sweep()
	return written, err
}

// written tells which run overlays are not as they were made, and what they take.
func (t *Target) written() ([]Discarded, error) {
	var all []Discarded
	for _, r := range t.manifest.Run {
		sum, err := fileSum(t.folder.Path(r.Image))
		if errors.Is(err, fs.ErrNotExist) || err == nil && sum == r.SHA256 {
			continue
		}
		n, aerr := t.folder.Allocated(r.Image)
		if err := errors.Join(err, aerr); err != nil {
			return nil, t.fail(replicator.KindStore, "look at the run overlay", r.Disk, "", err)
		}
		all = append(all, Discarded{Disk: r.Disk, Bytes: n})
	}
	return all, nil
}

// forgetMemory takes away a domain whose memory was saved: its next start would go on
// with that, on disks that it does not belong to.
func (t *Target) forgetMemory(ctx context.Context) error {
	dom, err := t.virt.Lookup(ctx, t.domain)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil
	}
	saved := false
	if err == nil {
		saved, err = dom.HasManagedSave(ctx)
	}
	switch {
	case err != nil:
		return t.fail(replicator.KindUnreachable, "look for a saved memory image", "", "is libvirtd healthy on the target?", err)
	case saved:
		return t.undefine(ctx)
	}
	return nil
}

// SetRole makes the replica follow its source, or not, and marks its domain so. It
// tells whether that changed anything. It refuses, with KindRole, a replica that took
// over from its source.
func (a *Admin) SetRole(ctx context.Context, role store.Role) (bool, error) {
	const op = "change the replica's role"
	t := a.t
	active := func(where string) error {
		return t.fail(replicator.KindRole, op, "", "what runs on the target would be lost with the next sync; nothing was changed",
			fmt.Errorf("the replica is active, %s: it took over from its source", where))
	}
	if t.manifest.Role == store.RoleActive {
		return false, active("says the store")
	}
	if err := a.connect(ctx); err != nil {
		return false, err
	}
	dom, doc, err := t.ownDomain(ctx)
	if err != nil {
		return false, err
	}
	mark := domainxml.Mark{}
	if doc != nil {
		if mark, _ = doc.Mark(); mark.Role == string(store.RoleActive) {
			return false, active("says its domain")
		}
	}
	changed := t.manifest.Role != role
	if changed {
		m := *t.manifest
		m.Role = role
		if err := t.save(&m); err != nil {
			return false, err
		}
	}
	if dom == nil || mark.Role == string(role) {
		return changed, nil
	}
	mark.Role = string(role)
	doc.SetMark(mark)
	xml, err := doc.String()
	if err == nil {
		_, err = t.virt.Define(ctx, xml)
	}
	if err != nil {
		return true, t.fail(replicator.KindDefine, op, "", "run it again: the store says it already, and syncs wait until both say the same", err)
	}
	return true, nil
}

// connect opens libvirt, for what changes the domain.
func (a *Admin) connect(ctx context.Context) error {
	if a.t.virt != nil {
		return nil
	}
	return a.t.connect(ctx)
}
