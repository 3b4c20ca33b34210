package e2e

import (
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// busyGuest is a live guest whose disk lies on a small file system of hosta, with data
// that takes long over a slow link and a file to overwrite.
func busyGuest(t *testing.T, dir string, size int64) *lab.Machine {
	t.Helper()
	if err := hosta.SmallFS(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "umount", dir); err != nil {
			t.Error(err)
		}
	})
	m := guest(t, lab.DiskSpec{Target: "vda", Size: 400 * mib, Path: dir + "/vda.qcow2"})
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/random bs=1M count=32; dd if=/dev/zero of=/mnt/vda/old bs=1M count=160; sync")
	return m
}

// goesOn checks that a guest runs and writes, and that nothing of a failed run is
// left; then that a sync works.
func goesOn(t *testing.T, m *lab.Machine) {
	t.Helper()
	if state, err := m.State(t.Context()); err != nil || state != "running" {
		t.Fatalf("the guest is %s, %v", state, err)
	}
	thawed(t, m)
	nothingLeft(t, m)
	setLink(t, hosta, lab.Link{})
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := inGuest(t, m, "dmesg"); strings.Contains(log, "I/O error") {
		t.Errorf("the guest saw errors:\n%s", log)
	}
}

// TestBusyGuestIsNotStoppedByItsScratchFile has a guest overwrite more during a slow
// sync than there is room for.
func TestBusyGuestIsNotStoppedByItsScratchFile(t *testing.T) {
	const small = lab.ImageDir + "/busy"
	m := busyGuest(t, small, 330*mib)
	r := midCopy(t, m)
	inGuest(t, m, "dd", "if=/dev/zero", "of=/mnt/vda/old", "bs=1M", "count=160", "conv=notrunc,fsync")
	e := failed(t, r.wait(), 1, "scratch-full", m.Name(), "vda")
	t.Log(e.Message, e.Hint)
	for _, want := range []string{small, "MiB are free", "vda.qcow2.vmsync-", "at least"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q lacks %q", e.Message, want)
		}
	}
	goesOn(t, m)
}

// signalAll sends a signal to all of a host's processes whose command line holds a
// text.
func signalAll(t *testing.T, h *lab.Host, process string, s syscall.Signal) {
	t.Helper()
	pids, err := h.Pids(t.Context(), process)
	if err != nil || len(pids) == 0 {
		t.Fatalf("%s on %s: %v, %v", process, h.Name(), pids, err)
	}
	for _, pid := range pids {
		if err := h.Kill(t.Context(), pid, s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGuestThatWasStoppedForWantOfScratchSpaceIsResumed takes all space at once, so
// that the guest is stopped before the job can be ended.
func TestGuestThatWasStoppedForWantOfScratchSpaceIsResumed(t *testing.T) {
	const small = lab.ImageDir + "/stopped"
	m := busyGuest(t, small, 420*mib)
	r := midCopy(t, m)
	// The agent is held until it is too late.
	signalAll(t, hosta, "vmsync agent", syscall.SIGSTOP)
	if err := hosta.Fill(small, 8*mib); err != nil {
		t.Fatal(err)
	}
	inGuest(t, m, "sh", "-c", "(sleep 1; dd if=/dev/zero of=/mnt/vda/old bs=1M count=160 conv=notrunc,fsync; touch /mnt/vda/wrote) </dev/null >/dev/null 2>&1 &")
	eventually(t, "the guest is stopped", func() bool {
		state, err := m.State(t.Context())
		return err == nil && state == "paused"
	})
	signalAll(t, hosta, "vmsync agent", syscall.SIGCONT)
	e := failed(t, r.wait(), 1, "scratch-full", m.Name(), "vda")
	t.Log(e.Message, e.Hint)
	if err := hosta.Unfill(small); err != nil {
		t.Fatal(err)
	}
	inGuest(t, m, "sh", "-c", "for i in $(seq 300); do [ -e /mnt/vda/wrote ] && exit; sleep 0.1; done; exit 1")
	goesOn(t, m)
}

func TestTooLittleScratchSpaceIsSaidBeforeAnythingBegins(t *testing.T) {
	const small = lab.ImageDir + "/little"
	if err := hosta.SmallFS(t.Context(), small, 200*mib); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "umount", small); err != nil {
			t.Error(err)
		}
	})
	m := machine(t, qcow2("vda", 64*mib), lab.DiskSpec{Target: "vdb", Size: 128 * mib, Path: small + "/vdb.qcow2"})
	if err := hosta.Fill(small, 60*mib); err != nil {
		t.Fatal(err)
	}
	e := failed(t, trySync(t, m.Name()), 1, "scratch-full", m.Name(), "vdb")
	for _, want := range []string{"60 MiB are free", small, "the least is 64 MiB", "up to 128 MiB"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q lacks %q", e.Message, want)
		}
	}
	nothingLeft(t, m)
	if err := hosta.Unfill(small); err != nil {
		t.Fatal(err)
	}
	sync(t, m.Name())
}
