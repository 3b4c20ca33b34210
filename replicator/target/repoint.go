package target

import (
	"context"

	"vmsync/internal/libvirt"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// Repoint has the domain of a replica on this host boot the newest state that is not known
// to be damaged, if it does not do so already; where there is none the domain goes. A
// replica that does not follow its source is left alone, and one that runs or was run is
// refused.
func Repoint(ctx context.Context, storeDir, domain string) (err error) {
	t := New("")
	t.domain = domain
	defer func() {
		if cerr := t.Close(); err == nil {
			err = cerr
		}
	}()
	if err := t.openStore(ctx, replicator.OpenRequest{Store: storeDir, TargetDomain: domain}); err != nil {
		return err
	}
	if t.manifest.Role != store.RoleReplica || len(t.manifest.States) == 0 || t.pointed() {
		return nil
	}
	if t.virt, err = libvirt.Open(ctx); err != nil {
		return t.fail(replicator.KindUnreachable, "connect to libvirt on the target", "", "is libvirtd running there?", err)
	}
	host, err := t.virt.Host(ctx)
	if err != nil {
		return t.fail(replicator.KindUnreachable, "ask libvirt on the target about its host", "", "", err)
	}
	t.qemuGID = host.QemuGID
	if err := t.point(ctx); err != nil {
		return err
	}
	_, err = t.sweep()
	return err
}
