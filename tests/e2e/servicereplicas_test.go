package e2e

import (
	"maps"
	"slices"
	"testing"

	"vmsync/internal/api"
	"vmsync/tests/lab"
)

// TestPatternsLeaveReplicasOut has the host that keeps replicas be a source as well: its own
// machines are replicated, and the replicas that it keeps are not; these can be started.
func TestPatternsLeaveReplicasOut(t *testing.T) {
	m := makeMachine(t, lab.MachineSpec{Name: "both-a", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	here, err := hostb.CreateMachine(t.Context(), lab.MachineSpec{Name: "both-b", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := here.Remove(ctx); err != nil {
			t.Error(err)
		}
		removeReplica(t, "copy-both-b")
	})
	sync(t, m.Name())
	startService(t, "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system', here: 'qemu:///system'}\n"+
		"machines: [{name: 'both-*', source: hosta, every: 5s}, {name: '*', source: here, every: 5s, target_domain: 'copy-{domain}'}]\n")
	for _, name := range []string{"both-a", "both-b"} {
		awaits(t, "is replicated", name, func(m api.Machine) bool { return well(m) && m.States != nil })
	}
	all, _ := stands(t)
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, []string{"both-a", "both-b"}) {
		t.Errorf("machines %v", got)
	}
	if all["both-a"].Source != "hosta" || all["both-b"].Source != "here" {
		t.Errorf("%+v", all)
	}
	// What the service has made can be started.
	on(t, hostb, "systemctl", "stop", "vmsync")
	if err := hostb.Machine("both-a").StartPaused(t.Context()); err != nil {
		t.Error(err)
	}
}
