package e2e

import (
	"syscall"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// TestLibvirtdKilledWhileItEndsTheJob kills libvirtd after it was told to end a backup
// job and before it has: after its restart it has the job again, and has forgotten
// that it was to end.
func TestLibvirtdKilledWhileItEndsTheJob(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, mib)
	const held = "/run/vmsync-hold-abort"
	withFault(t, hosta, "source-before-abort=hold:"+held)
	r := start(t, hostb, fromTarget(m.Name())...)
	eventually(t, "the run is about to end the job", func() bool { return exists(t, hosta, held) })

	// The call reaches a libvirtd that does nothing with it any more.
	const libvirtd = "/usr/sbin/libvirtd"
	signal(t, hosta, libvirtd, syscall.SIGSTOP)
	if _, err := hosta.Run(t.Context(), "rm", held); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	signal(t, hosta, libvirtd, syscall.SIGKILL)

	succeeded(t, r.wait())
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)
	withoutFault(t, hosta)
	if s := sync(t, m.Name()); s.Kind != "incremental" {
		t.Errorf("the next sync: %+v", s)
	}
}

func signal(t *testing.T, h *lab.Host, process string, sig syscall.Signal) {
	t.Helper()
	if n, err := h.SignalAll(process, sig); err != nil || n == 0 {
		t.Fatalf("%v to %q on %s: %d processes, %v", sig, process, h.Name(), n, err)
	}
}
