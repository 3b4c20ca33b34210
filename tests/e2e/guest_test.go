package e2e

import (
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// inGuest runs a command in a live guest.
func inGuest(t *testing.T, m *lab.Machine, argv ...string) string {
	t.Helper()
	out, err := m.Guest(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// thawed checks that a guest can write.
func thawed(t *testing.T, m *lab.Machine) {
	t.Helper()
	eventually(t, "the guest is thawed", func() bool {
		out, err := m.Host().Run(t.Context(), "virsh", "qemu-agent-command", m.Name(), `{"execute":"guest-fsfreeze-status"}`)
		return err == nil && strings.Contains(out, "thawed")
	})
	inGuest(t, m, "sh", "-c", "echo alive > /mnt/vda/alive && sync")
}

func TestReplicaOfALiveGuestBoots(t *testing.T) {
	m := guest(t, qcow2("vda", 256*mib), qcow2("vdb", 256*mib))
	inGuest(t, m, "sh", "-c", "echo one > /mnt/vda/one; echo gone > /mnt/vda/gone; dd if=/dev/urandom of=/mnt/vdb/big bs=1M count=20; sync")
	s := sync(t, m.Name())
	if s.Consistency != "filesystem" || s.Frozen <= 0 || s.Frozen > 10 {
		t.Errorf("%+v", s)
	}
	thawed(t, m)

	inGuest(t, m, "sh", "-c", "echo two > /mnt/vda/two; rm /mnt/vda/gone /mnt/vdb/big && sync; fstrim /mnt/vda; fstrim /mnt/vdb")
	s = sync(t, m.Name())
	if s.Kind != "incremental" || s.ZeroBytes < 20*mib || s.SentBytes > 8*mib {
		t.Errorf("a trimmed file travelled: %+v", s)
	}
	nothingLeft(t, m)

	// The source keeps running: it writes what the replica must not have.
	inGuest(t, m, "sh", "-c", "echo later > /mnt/vda/later; sync")

	replica := hostb.Machine(m.Name())
	xml, err := replica.XML(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://vmsync/xmlns/replica/1.0", "role=\"replica\"", storeDir + "/" + m.Name() + "/run/vda."} {
		if !strings.Contains(strings.ReplaceAll(xml, "'", "\""), want) {
			t.Errorf("the replica's XML lacks %s:\n%s", want, xml)
		}
	}
	before := head(t, m.Name())
	if err := replica.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := replica.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := inGuest(t, replica, "sh", "-c", "cat /mnt/vda/one /mnt/vda/two; ls /mnt/vda /mnt/vdb")
	for _, want := range []string{"one\n", "two\n"} {
		if !strings.Contains(files, want) {
			t.Errorf("%q is missing in the replica: %s", want, files)
		}
	}
	for _, not := range []string{"gone", "later", "big"} {
		if strings.Contains(files, not) {
			t.Errorf("%q is in the replica: %s", not, files)
		}
	}

	failed(t, trySync(t, m.Name()), 1, "replica-active", m.Name(), "")
	inGuest(t, replica, "sh", "-c", "echo precious > /mnt/vda/precious; sync")
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Off again, but what it wrote is not thrown away unasked.
	e := failed(t, trySync(t, m.Name()), 1, "replica-used", m.Name(), "vda")
	if after := head(t, m.Name()); after.ID != before.ID {
		t.Errorf("head went from %s to %s", before.ID, after.ID)
	}
	_, command, ok := strings.Cut(e.Hint, "sync again: ")
	if !ok {
		t.Fatalf("no way out in %q", e.Hint)
	}
	if _, err := hostb.Run(t.Context(), "sh", "-c", command); err != nil {
		t.Fatal(err)
	}
	sync(t, m.Name())
	nothingLeft(t, m)
	onlyPlainImages(t, m.Name())
}

func TestWithoutAnAgentItIsCrashConsistentAndSaysSo(t *testing.T) {
	for name, spec := range map[string]lab.MachineSpec{
		"no agent": {Guest: true, NoAgent: true},
		"paused":   {},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Disks = []lab.DiskSpec{qcow2("vda", 64*mib)}
			m := makeMachine(t, spec)
			o := trySync(t, m.Name())
			s := succeeded(t, o)
			if s.Consistency != "crash" || head(t, m.Name()).Consistency != "crash" {
				t.Errorf("%+v", s)
			}
			if w := o.messages("warning"); !strings.Contains(w, "not frozen") {
				t.Errorf("warnings: %q", w)
			}
		})
	}
}

func TestHangingAgentDelaysTheSyncAndNoMore(t *testing.T) {
	m := guest(t, qcow2("vda", 64*mib))
	if err := m.AgentStop(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := trySync(t, m.Name())
	s := succeeded(t, o)
	for _, e := range o.events {
		if e.Event == "phase_finished" {
			t.Logf("%s took %.1f s", e.Phase, e.Duration)
		}
	}
	if s.Consistency != "crash" || !strings.Contains(o.messages("warning"), "agent") {
		t.Errorf("%+v, warnings %q", s, o.messages("warning"))
	}
	if err := m.AgentCont(t.Context()); err != nil {
		t.Fatal(err)
	}
	thawed(t, m)
	if s := sync(t, m.Name()); s.Consistency != "filesystem" {
		t.Errorf("%+v", s)
	}
	thawed(t, m)
}

func TestGuestIsThawedWhenItsAgentIsKilledBetweenFreezeAndThaw(t *testing.T) {
	for _, point := range []string{"source-after-freeze", "source-after-begin"} {
		t.Run(point, func(t *testing.T) {
			m := guest(t, qcow2("vda", 64*mib))
			withFault(t, hosta, point+"=kill")
			if o := trySync(t, m.Name()); o.code == 0 {
				t.Fatal("nothing was killed")
			}
			thawed(t, m)
			withoutFault(t, hosta)
			sync(t, m.Name())
			nothingLeft(t, m)
		})
	}
}

func TestGuestIsThawedWhenTheControllerIsKilledWhileItIsFrozen(t *testing.T) {
	const held = "/run/vmsync-hold-frozen"
	m := guest(t, qcow2("vda", 64*mib))
	withFault(t, hosta, "source-after-freeze=wait:"+held)
	r := start(t, hostb, fromTarget(m.Name())...)
	eventually(t, "the guest is frozen", func() bool { return exists(t, hosta, held+".hit") })
	// Everything of vmsync on both hosts but the guard.
	killAll(t, hostb, "vmsync sync", "vmsync agent")
	killAll(t, hosta, "vmsync agent")
	r.wait()
	thawed(t, m)
	if _, err := hosta.Run(t.Context(), "rm", "-f", held+".hit"); err != nil {
		t.Fatal(err)
	}
	withoutFault(t, hosta)
	sync(t, m.Name())
	nothingLeft(t, m)
}

func TestNextRunThawsWhenEvenTheGuardWasKilled(t *testing.T) {
	const held = "/run/vmsync-hold-guard"
	m := guest(t, qcow2("vda", 64*mib))
	withFault(t, hosta, "source-after-freeze=wait:"+held)
	r := start(t, hostb, fromTarget(m.Name())...)
	eventually(t, "the guest is frozen", func() bool { return exists(t, hosta, held+".hit") })
	killAll(t, hosta, "vmsync guard", "vmsync agent")
	if o := r.wait(); o.code == 0 {
		t.Fatal("the sync succeeded without its agent")
	}
	if out, err := hosta.Run(t.Context(), "virsh", "qemu-agent-command", m.Name(), `{"execute":"guest-fsfreeze-status"}`); err != nil || !strings.Contains(out, "frozen") {
		t.Fatalf("the guest is not frozen, this test proves nothing: %v %s", err, out)
	}
	if _, err := hosta.Run(t.Context(), "rm", "-f", held+".hit"); err != nil {
		t.Fatal(err)
	}
	withoutFault(t, hosta)
	o := trySync(t, m.Name())
	succeeded(t, o)
	if !strings.Contains(o.messages("notice"), "thawed") {
		t.Errorf("notices: %q", o.messages("notice"))
	}
	thawed(t, m)
	nothingLeft(t, m)
}

// killAll kills every process of a host whose command line contains one of the
// texts. All are looked for before the first is killed: when one dies, others may
// end by themselves.
func killAll(t *testing.T, h *lab.Host, processes ...string) {
	t.Helper()
	var all []int
	for _, process := range processes {
		pids, err := h.Pids(t.Context(), process)
		if err != nil || len(pids) == 0 {
			t.Fatalf("no process %q on %s: %v", process, h.Name(), err)
		}
		all = append(all, pids...)
	}
	for _, pid := range all {
		if err := h.Kill(t.Context(), pid, syscall.SIGKILL); err != nil && !strings.Contains(err.Error(), "No such process") {
			t.Fatal(err)
		}
	}
}

func TestGuestThatShutsDownDuringTheCopy(t *testing.T) {
	m := guest(t, qcow2("vda", 256*mib))
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=30 && sync")
	r := midCopy(t, m)
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed(t, r.wait(), 1, "domain-stopped", m.Name(), "")
	setLink(t, hosta, lab.Link{})
	failed(t, trySync(t, m.Name()), 1, "domain-off", m.Name(), "")
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync(t, m.Name())
	nothingLeft(t, m)
}
