package e2e

import (
	"strings"
	"testing"
)

// TestRestoredStateRunsBesideItsReplica restores an older state of a live guest and boots a
// machine of its own over it.
func TestRestoredStateRunsBesideItsReplica(t *testing.T) {
	const dir = "/var/lib/libvirt/images/restored"
	m := guest(t, qcow2("vda", 256*mib))
	clone := hostb.Machine(m.Name() + "-clone")
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := clone.Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hostb.Run(ctx, "rm", "-rf", dir); err != nil {
			t.Error(err)
		}
	})
	inGuest(t, m, "sh", "-c", "echo one > /mnt/vda/one; sync")
	first := sync(t, m.Name(), "--keep", "5")
	inGuest(t, m, "sh", "-c", "echo two > /mnt/vda/two; rm /mnt/vda/one; sync")
	sync(t, m.Name())

	o := start(t, hostb, "restore", m.Name()+"@"+first.State, "--to", dir, "--define", clone.Name(), "--json").wait()
	if r := o.find("restored"); o.code != 0 || r.State != first.State || r.Defined != clone.Name() {
		t.Fatalf("exit code %d, %+v\n%s", o.code, o.find("error"), o.stderr)
	}
	identical(t, "qcow2", hostb.Path(dir+"/vda.qcow2"), hostb.Path(storeDir+"/"+m.Name()+"/"+manifest(t, m.Name()).States[0].Disks[0].Image))
	failed(t, start(t, hostb, "restore", m.Name(), "--to", dir, "--json").wait(), 2, "usage", m.Name(), "")
	failed(t, start(t, hostb, "restore", m.Name(), "--to", dir+"2", "--define", clone.Name(), "--json").wait(), 2, "usage", m.Name(), "")

	if on, err := hostb.Run(t.Context(), "virsh", "dominfo", clone.Name()); err != nil || !strings.Contains(on, "disable") {
		t.Errorf("%v\n%s", err, on)
	}
	replica := hostb.Machine(m.Name())
	if err := replica.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := clone.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := clone.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := inGuest(t, clone, "sh", "-c", "ls /mnt/vda"); !strings.Contains(files, "one") || strings.Contains(files, "two") {
		t.Errorf("the restored machine has %q", files)
	}
	if a, b := uuidOf(t, clone), uuidOf(t, replica); a == b {
		t.Errorf("both have UUID %s", a)
	}
	if err := clone.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}
