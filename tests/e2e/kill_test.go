package e2e

import (
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// busyMachine has enough incompressible data on hosta that a copy over a slow
// link can be interrupted in its middle.
func busyMachine(t *testing.T) *lab.Machine {
	t.Helper()
	m := machine(t, qcow2("vda", 256*mib), qcow2("vdb", 128*mib))
	randomData(t, m, "vda", 4*mib, 24*mib)
	randomData(t, m, "vdb", 0, 8*mib)
	return m
}

// randomData writes bytes that do not compress through the machine.
func randomData(t *testing.T, m *lab.Machine, disk string, offset, length int64) {
	t.Helper()
	b := make([]byte, length)
	rng := rand.NewChaCha8([32]byte{1, byte(offset >> 20)})
	rng.Read(b)
	const file = "/var/tmp/random.bin"
	if err := m.Host().WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.QemuIO(t.Context(), disk, "write -q -s "+file+" "+num(offset)+" "+num(length)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.QemuIO(t.Context(), disk, "flush"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Host().Run(t.Context(), "rm", file); err != nil {
		t.Fatal(err)
	}
}

// slowly makes hosta's link slow for the rest of the test.
func slowly(t *testing.T) {
	t.Helper()
	setLink(t, hosta, lab.Link{Rate: 40e6})
	t.Cleanup(func() { setLink(t, hosta, lab.Link{}) })
}

// midCopy starts a sync over a slow link, run on hostb, and returns when it is in
// the middle of its transfer.
func midCopy(t *testing.T, m *lab.Machine, more ...string) *running {
	t.Helper()
	slowly(t)
	return midTransfer(t, m, hostb, fromTarget(m.Name(), more...)...)
}

// midTransfer starts a sync, which must be a slow one, and returns when it is in the
// middle of its transfer.
func midTransfer(t *testing.T, m *lab.Machine, on *lab.Host, args ...string) *running {
	t.Helper()
	before := stored(t, m)
	r := start(t, on, args...)
	eventually(t, "two megabytes have arrived", func() bool {
		if zombie(r.cmd.Process.Pid) {
			t.Fatalf("the sync ended too early: %+v", r.wait())
		}
		return stored(t, m) > before+2*mib
	})
	return r
}

// stored is how many bytes the images of a machine's replica take.
func stored(t *testing.T, m *lab.Machine) int64 {
	t.Helper()
	var sum int64
	for _, img := range listFiles(t, hostb, storeDir+"/"+m.Name()+"/disks") {
		var st syscall.Stat_t
		if syscall.Stat(img, &st) == nil { // it may be gone again
			sum += st.Blocks * 512
		}
	}
	return sum
}

// zombie tells whether a child of this process has ended.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + num(int64(pid)) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// eachTransport runs a test once for each way that a stream can go between hosts.
func eachTransport(t *testing.T, f func(t *testing.T, transport string)) {
	for _, transport := range []string{"direct", "ssh"} {
		t.Run(transport, func(t *testing.T) { f(t, transport) })
	}
}

// victim is a process of a sync that a test kills.
type victim struct {
	on      *lab.Host
	process string // of its command line
}

// TestKilledInTheMiddle kills processes of a sync with SIGKILL in the middle of a
// first copy and of a later one, and runs the sync again.
func TestKilledInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name, transport string
		victims         []victim
	}{
		{"vmsync", "direct", []victim{{hostb, "vmsync sync"}}},
		{"vmsync that relays", "ssh", []victim{{hostb, "vmsync sync"}}},
		{"vmsync-nbd on the source", "direct", []victim{{hosta, "vmsync-nbd serve"}}},
		{"vmsync-nbd on the source, relayed", "ssh", []victim{{hosta, "vmsync-nbd serve"}}},
		{"vmsync-nbd on the target", "direct", []victim{{hostb, "vmsync-nbd apply"}}},
		{"vmsync-nbd on the target, relayed", "ssh", []victim{{hostb, "vmsync-nbd apply"}}},
		{"vmsync-nbd on both", "direct", []victim{{hosta, "vmsync-nbd serve"}, {hostb, "vmsync-nbd apply"}}},
		{"agent on the source", "direct", []victim{{hosta, "vmsync agent"}}},
		{"agent on the target", "direct", []victim{{hostb, "vmsync agent"}}},
		{"qemu-nbd on the target", "direct", []victim{{hostb, "qemu-nbd"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := busyMachine(t)
			killIn(t, midCopy(t, m, "--transport", c.transport), c.victims...)
			if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
				t.Fatalf("a state is listed after half a copy: %+v", mf.Head())
			}
			setLink(t, hosta, lab.Link{})
			sync(t, m.Name())
			sameAsSource(t, m, "vda", "vdb")
			onlyPlainImages(t, m.Name())
			nothingLeft(t, m)

			before := head(t, m.Name())
			randomData(t, m, "vda", 64*mib, 16*mib)
			killIn(t, midCopy(t, m, "--transport", c.transport), c.victims...)
			if after := head(t, m.Name()); after.ID != before.ID {
				t.Fatalf("head went from %s to %s by half a copy", before.ID, after.ID)
			}
			setLink(t, hosta, lab.Link{})
			if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes > 16*mib {
				t.Errorf("%+v", s)
			}
			sameAsSource(t, m, "vda", "vdb")
			onlyPlainImages(t, m.Name())
			nothingLeft(t, m)
		})
	}
}

// killIn kills processes of a sync, which must fail then.
func killIn(t *testing.T, r *running, victims ...victim) {
	t.Helper()
	for _, v := range victims {
		killAll(t, v.on, v.process)
	}
	o := r.wait()
	if o.code == 0 {
		t.Fatalf("the sync succeeded without %+v", victims)
	}
	if e := o.find("error"); o.code > 0 && (o.code != 1 || e.Message == "" || e.Hint == "") {
		t.Errorf("exit code %d, error %+v", o.code, e)
	}
}

func TestLibvirtdRestartedInTheMiddle(t *testing.T) {
	m := busyMachine(t)
	r := midCopy(t, m)
	if _, err := hosta.Run(t.Context(), "systemctl", "restart", "libvirtd"); err != nil {
		t.Fatal(err)
	}
	setLink(t, hosta, lab.Link{})
	succeeded(t, r.wait())
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
}

func TestCutLinkInTheMiddle(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		m := busyMachine(t)
		r := midCopy(t, m, "--transport", transport)
		began := time.Now()
		plug(t, hosta, false)
		t.Cleanup(func() { plug(t, hosta, true) })
		o := r.wait()
		if o.code != 1 {
			t.Fatalf("exit code %d: %+v", o.code, o.events)
		}
		t.Logf("noticed after %v: %+v", time.Since(began).Round(time.Second), o.find("error"))
		// The source's side must have cleaned up by itself: nobody can reach it.
		eventually(t, "the source ended its side", func() bool {
			pids, err := hosta.Pids(t.Context(), "vmsync")
			return err == nil && len(pids) == 0
		})
		if out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name()); err == nil && !strings.Contains(out, "None") {
			t.Errorf("the backup job is still open: %s", out)
		}
		plug(t, hosta, true)
		setLink(t, hosta, lab.Link{})
		sync(t, m.Name())
		sameAsSource(t, m, "vda", "vdb")
		onlyPlainImages(t, m.Name())
		nothingLeft(t, m)
	})
}

func TestShortOutageIsSurvived(t *testing.T) {
	eachTransport(t, func(t *testing.T, transport string) {
		m := busyMachine(t)
		r := midCopy(t, m, "--transport", transport)
		plug(t, hosta, false)
		time.Sleep(10 * time.Second)
		plug(t, hosta, true)
		setLink(t, hosta, lab.Link{})
		succeeded(t, r.wait())
		sameAsSource(t, m, "vda", "vdb")
		nothingLeft(t, m)
	})
}

// TestKilledAtEveryStep kills an end at each of its named steps.
func TestKilledAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		on    func() *lab.Host
		point string
	}{
		{func() *lab.Host { return hosta }, "source-after-freeze"},
		{func() *lab.Host { return hosta }, "source-after-begin"},
		{func() *lab.Host { return hosta }, "source-after-thaw"},
		{func() *lab.Host { return hosta }, "source-before-finish"},
		{func() *lab.Host { return hosta }, "source-before-drop"},
		{func() *lab.Host { return hostb }, "target-staged"},
		{func() *lab.Host { return hostb }, "target-learnt"},
		{func() *lab.Host { return hostb }, "target-before-commit"},
		{func() *lab.Host { return hostb }, "target-after-commit"},
		{func() *lab.Host { return hostb }, "target-before-define"},
		{func() *lab.Host { return hostb }, "target-defined"},
		{func() *lab.Host { return hostb }, "target-before-merge"},
		{func() *lab.Host { return hostb }, "target-merged"},
		{func() *lab.Host { return hostb }, "target-renamed"},
		{func() *lab.Host { return hostb }, "target-after-step"},
		{func() *lab.Host { return hostb }, "target-before-sweep"},
	} {
		t.Run(c.point, func(t *testing.T) {
			m := machine(t, qcow2("vda", 128*mib))
			dirty(t, m, "vda", 0, 8*mib, 1)
			sync(t, m.Name())
			before, old := head(t, m.Name()), copyOf(t, m, "vda")
			dirty(t, m, "vda", 4*mib, 8*mib, 2)
			withFault(t, c.on(), c.point+"=kill")
			if o := trySync(t, m.Name()); o.code == 0 {
				t.Fatalf("nothing was killed: %+v", o.events)
			}
			withoutFault(t, c.on())
			// Whatever died, the head is a whole state: the old one or the new one. And
			// so is what the replica would boot from now.
			now := copyOf(t, m, "vda")
			boots, err := hostb.Machine(m.Name()).DiskPath(t.Context(), "vda")
			if err != nil {
				t.Fatal(err)
			}
			if head(t, m.Name()).ID == before.ID {
				identical(t, "raw", old, topImage(t, m.Name(), "vda"))
				identical(t, "raw", old, hostb.Path(boots))
			} else {
				identical(t, "raw", now, topImage(t, m.Name(), "vda"))
				if !same(t, "raw", old, hostb.Path(boots)) {
					identical(t, "raw", now, hostb.Path(boots))
				}
			}
			dirty(t, m, "vda", 32*mib, mib, 3)
			if s := sync(t, m.Name()); s.Kind != "incremental" {
				t.Errorf("%+v", s)
			}
			sameAsSource(t, m, "vda")
			onlyPlainImages(t, m.Name())
			nothingLeft(t, m)
		})
	}
}

func TestInterruptedByTheUser(t *testing.T) {
	m := busyMachine(t)
	r := midCopy(t, m)
	if err := hostb.Signal(r.cmd, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	o := r.wait()
	e := o.find("error")
	if o.code != 1 || e.Kind != "canceled" || e.Domain != m.Name() {
		t.Errorf("exit code %d, %+v", o.code, e)
	}
	// Both ends have undone what they began when it returns.
	if left := strayProcesses(t); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	if out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name()); err == nil && !strings.Contains(out, "None") {
		t.Errorf("the backup job is still open: %s", out)
	}
	if got := checkpoints(t, m); len(got) > 0 {
		t.Errorf("checkpoints %v", got)
	}
	setLink(t, hosta, lab.Link{})
	sync(t, m.Name())
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
}
