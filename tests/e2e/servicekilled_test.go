package e2e

import (
	"path"
	"strings"
	"syscall"
	"testing"

	"vmsync/internal/api"
	"vmsync/tests/lab"
)

// TestGuestThawsWhenTheServiceIsKilled kills the service with SIGKILL while a guest of its
// own host is frozen, whose agent and guard belong to its unit, and does not start it again.
func TestGuestThawsWhenTheServiceIsKilled(t *testing.T) {
	m, err := hostb.CreateMachine(t.Context(), lab.MachineSpec{Name: "near", Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 128*mib)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := m.Remove(ctx); err != nil {
			t.Error(err)
		}
		removeReplica(t, "copy-near")
	})
	const stayDead = serviceUnit + ".d/stay-dead.conf"
	on(t, hostb, "mkdir", "-p", path.Dir(stayDead))
	if err := hostb.WriteFile(stayDead, []byte("[Service]\nRestart=no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if out, err := hostb.Run(ctx, "sh", "-c", "rm -r "+path.Dir(stayDead)+"; systemctl daemon-reload"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	startService(t, "version: 1\nsources: {here: 'qemu:///system'}\nmachines: [{name: near, every: 1h, target_domain: copy-near}]\n")
	awaits(t, "is replicated", "near", well)
	checkpoint := checkpoints(t, m)

	withFault(t, hostb, "source-after-freeze=sleep:10s")
	on(t, hostb, "systemctl", "restart", "vmsync")
	awaits(t, "is known", "near", func(api.Machine) bool { return true })
	r := start(t, hostb, "sync", "near", "--json")
	eventually(t, "the guest is frozen", func() bool {
		out, err := hostb.Run(t.Context(), "virsh", "qemu-agent-command", "near", `{"execute":"guest-fsfreeze-status"}`)
		return err == nil && strings.Contains(out, "frozen")
	})
	if n, err := hostb.SignalAll("vmsync serve", syscall.SIGKILL); err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
	r.wait()
	thawed(t, m)
	eventually(t, "all is undone", func() bool {
		out, err := hostb.Run(t.Context(), "virsh", "domjobinfo", "near")
		return err == nil && strings.Contains(out, "None") && len(strayProcesses(t)) == 0 && strings.Join(checkpoints(t, m), " ") == strings.Join(checkpoint, " ")
	})
	withoutFault(t, hostb)
}
