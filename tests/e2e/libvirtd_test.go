package e2e

import (
	"slices"
	"strings"
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

// TestLibvirtdThatHasLostABackupJob is what libvirtd 9.0 is after it died as a backup
// began: it holds the domain for a backup that it has no record of, and ending that has no
// effect. A run says so and what helps, and that does help.
func TestLibvirtdThatHasLostABackupJob(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, mib)
	sync(t, m.Name())
	was := checkpoints(t, m)

	sockets := []string{"libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"}
	on(t, hosta, append([]string{"systemctl", "stop", "libvirtd"}, sockets...)...)
	// Its own record of the running domain, as such a death leaves it.
	status := "/run/libvirt/qemu/" + m.Name() + ".xml"
	text, err := hosta.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	const devices, job = "  <devices>\n", "  <job type='none' async='backup' phase='none' flags='0x0'/>\n"
	if err := hosta.WriteFile(status, []byte(strings.Replace(string(text), devices, job+devices, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	on(t, hosta, append([]string{"systemctl", "start", "libvirtd"}, sockets...)...)

	e := failed(t, trySync(t, m.Name()), 1, "job-active", m.Name(), "")
	if !strings.Contains(e.Message, "libvirt knows nothing of") || !strings.Contains(e.Hint, "restart libvirtd") {
		t.Errorf("%+v", e)
	}
	admin(t, hostb, "doctor", m.Name(), "--source-uri", uriA).exits(t, 1, "libvirt knows nothing of", "restart libvirtd")
	admin(t, hostb, "verify", m.Name(), "--against-source", "--source-uri", uriA).exits(t, 1, "libvirt knows nothing of", "vmsync doctor")
	if got := checkpoints(t, m); !slices.Equal(got, was) {
		t.Errorf("checkpoints %v, were %v", got, was)
	}

	randomData(t, m, "vda", 8*mib, mib)
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	on(t, hosta, "systemctl", "restart", "libvirtd")
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != mib {
		t.Errorf("after the restart: %+v", s)
	}
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)
}
