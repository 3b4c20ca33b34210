package e2e

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// TestTargetThatCannotDefineTheDomain replicates a machine whose emulator the
// target does not have: the data must get there all the same, and the domain as
// soon as it can.
func TestTargetThatCannotDefineTheDomain(t *testing.T) {
	const emulator, special = "/usr/bin/qemu-system-x86_64", "/usr/local/bin/special-qemu"
	link := func(h *lab.Host) {
		t.Helper()
		if _, err := h.Run(t.Context(), "ln", "-s", emulator, special); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := cleanupContext()
			defer cancel()
			if _, err := h.Run(ctx, "rm", special); err != nil {
				t.Error(err)
			}
		})
	}
	link(hosta)
	m := makeMachine(t, lab.MachineSpec{Disks: []lab.DiskSpec{qcow2("vda", 64*mib)},
		XMLHook: func(xml string) string { return strings.ReplaceAll(xml, emulator, special) }})
	for i := range 3 {
		dirty(t, m, "vda", int64(i)*mib, mib, i+1)
		o := trySync(t, m.Name())
		e := failed(t, o, 1, "define", m.Name(), "")
		if s := o.find("summary"); s.State == "" || !strings.Contains(e.Message, "special-qemu") {
			t.Fatalf("%+v, %+v", s, e)
		}
		sameAsSource(t, m, "vda")
	}
	link(hostb)
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
	if err := hostb.Machine(m.Name()).StartPaused(t.Context()); err != nil {
		t.Errorf("the replica does not start: %v", err)
	}
}
