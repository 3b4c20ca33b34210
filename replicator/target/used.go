package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"vmsync/internal/libvirt"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// refuseRole refuses a replica that does not follow its source.
func (t *Target) refuseRole() error {
	const op = "look at the replica's role"
	switch t.manifest.Role {
	case store.RoleReplica:
		return nil
	case store.RolePaused:
		return t.fail(replicator.KindRole, op, "", "vmsync resume "+t.domain, errors.New("the replica is paused"))
	}
	return t.fail(replicator.KindRole, op, "", "what runs on the target would be lost; nothing was changed",
		fmt.Errorf("the replica is %s: it took over from its source", t.manifest.Role))
}

// mayChange looks again, right before something changes, at what could have changed
// since Open: whether the domain runs or was run, and whether it is still a replica.
func (t *Target) mayChange(ctx context.Context) error {
	if err := t.refuseForeign(ctx); err != nil {
		return err
	}
	return t.refuseUsed(ctx)
}

// refuseUsed refuses a replica that runs, or that was run since the last sync:
// what it wrote would be lost.
func (t *Target) refuseUsed(ctx context.Context) error {
	if err := t.refuseActive(ctx); err != nil {
		return err
	}
	for _, r := range t.manifest.Run {
		sum, err := fileSum(t.folder.Path(r.Image))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Deleted on purpose, as the error below says; there is nothing to lose.
		case err != nil:
			return t.fail(replicator.KindStore, "look at the run overlay", r.Disk, "", err)
		case sum != r.SHA256:
			return t.fail(replicator.KindReplicaUsed, "look at the run overlay", r.Disk,
				fmt.Sprintf("keep running the replica, or give up what it wrote and sync again: vmsync discard-run %s", t.domain),
				errors.New("the replica was started since the last sync, and what it wrote would be lost"))
		}
	}
	return nil
}

// refuseActive refuses a replica that runs now.
func (t *Target) refuseActive(ctx context.Context) error {
	const op = "look at the replica's domain"
	dom, err := t.virt.Lookup(ctx, t.domain)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil
	}
	var state libvirt.State
	if err == nil {
		state, err = dom.State(ctx)
	}
	switch {
	case err != nil:
		return t.fail(replicator.KindUnreachable, op, "", "is libvirtd healthy on the target?", err)
	case state.Off():
		return nil
	}
	return t.fail(replicator.KindReplicaActive, op, "", "shut the replica down first: virsh destroy "+t.domain,
		fmt.Errorf("the replica is in use on the target: it is %s", state))
}

// fileSum is the SHA-256 of a small file.
func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// removeAll removes a folder of dead sockets.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	return nil
}
