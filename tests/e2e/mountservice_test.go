package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

const unitDir = "/etc/systemd/system/"

// TestMountRunsAsAServiceAndFromFstab mounts a store as the unit does, kills it, stops
// it, and mounts it as mount(8) does.
func TestMountRunsAsAServiceAndFromFstab(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, mib, 0x42)
	sync(t, m.Name())
	raw := mountPoint + "/" + m.Name() + "/latest/disks/vda.raw"
	shows := func() bool {
		out, err := hostb.Run(t.Context(), "od", "-An", "-tx1", "-N2", raw)
		return err == nil && strings.TrimSpace(out) == "42 42"
	}

	unit, err := os.ReadFile("../../systemd/vmsync-mount@.service")
	if err != nil {
		t.Fatal(err)
	}
	if err := hostb.WriteFile(unitDir+"vmsync-mount@.service", unit, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hostb.Run(ctx, "sh", "-c", "systemctl stop vmsync-mount@mnt-vmsync; rm -f "+unitDir+"vmsync-mount@.service; systemctl daemon-reload"); err != nil {
			t.Error(err)
		}
	})
	on(t, hostb, "mkdir", "-p", mountPoint)
	on(t, hostb, "systemctl", "daemon-reload")
	if out := on(t, hostb, "sh", "-c", "systemd-analyze verify --man=no vmsync-mount@mnt-vmsync.service 2>&1"); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	on(t, hostb, "systemd-analyze", "security", "--offline=true", "--threshold=60", unitDir+"vmsync-mount@.service")
	on(t, hostb, "systemctl", "start", "vmsync-mount@mnt-vmsync")
	if !shows() {
		t.Error("the service does not show the disk")
	}
	if _, err := hostb.SignalAll("vmsync mount", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is back", shows)
	on(t, hostb, "systemctl", "stop", "vmsync-mount@mnt-vmsync")
	notMounted(t)

	on(t, hostb, "ln", "-sf", binDir+"vmsync", "/usr/sbin/mount.vmsync")
	t.Cleanup(func() { os.Remove(hostb.Path("/usr/sbin/mount.vmsync")) })
	on(t, hostb, "mount", "-t", "vmsync", storeDir, mountPoint, "-o", "ro,domain="+m.Name())
	if !shows() {
		t.Error("what mount(8) mounted does not show the disk")
	}
	on(t, hostb, "umount", mountPoint)
	notMounted(t)
	nothingLeft(t, m)
}

// TestMountAfterAKill mounts where a killed vmsync was mounted.
func TestMountAfterAKill(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	sync(t, m.Name())
	unmount := mounted(t)
	if n, err := hostb.SignalAll("vmsync mount", syscall.SIGKILL); err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
	eventually(t, "the mount point is dead", func() bool {
		_, err := hostb.Run(t.Context(), "stat", mountPoint)
		return err != nil
	})
	out := on(t, hostb, "sh", "-c", "vmsync mount "+mountPoint+" 2>&1")
	if !strings.Contains(out, mountPoint) {
		t.Errorf("it does not say what it found: %q", out)
	}
	if on(t, hostb, "ls", mountPoint) != m.Name()+"\n" {
		t.Error("the new mount does not show the store")
	}
	unmount()
	notMounted(t)
}

func notMounted(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is mounted", func() bool {
		_, err := hostb.Run(t.Context(), "mountpoint", "-q", mountPoint)
		return err != nil
	})
	eventually(t, "no program is left", func() bool {
		pids, err := hostb.Pids(t.Context(), "vmsync mount")
		return err == nil && len(pids) == 0
	})
}

// on runs a command on a host, which must succeed, and returns what it printed.
func on(t *testing.T, h *lab.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), argv...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
