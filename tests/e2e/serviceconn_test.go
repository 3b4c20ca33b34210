package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/tests/lab"
)

// TestServiceOutlivesItsConnections has the connection die that runs of the service share,
// with and without a word, between runs and in the middle of one.
func TestServiceOutlivesItsConnections(t *testing.T) {
	m := makeMachine(t, lab.MachineSpec{Name: "service-conn", Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 256*mib)}})
	startService(t, serviceHead+"machines: [{name: service-conn, every: 5s, keep: 3}]\n")
	awaits(t, "is replicated several times", m.Name(), func(m api.Machine) bool { return well(m) && *m.States >= 3 })

	t.Run("runs share it", func(t *testing.T) {
		before := logins(t)
		from := time.Now()
		awaits(t, "was synced again", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.Sub(from) > 8*time.Second })
		if n := logins(t) - before; n > 0 {
			t.Errorf("the service has connected %d times for runs of which none failed", n)
		}
	})
	t.Run("its sshd is killed", func(t *testing.T) {
		killSSH(t)
		killed := time.Now()
		awaits(t, "is synced over another connection", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.After(killed) })
		writes(t, m, "echo alive >/mnt/vda/alive; sync")
	})
	t.Run("the link is cut in the middle of a sync", func(t *testing.T) {
		slowly(t)
		writes(t, m, "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=60; sync")
		awaits(t, "is in the middle of a sync", m.Name(), func(m api.Machine) bool {
			return m.Running != nil && m.Running.Phase == "transfer" && m.Running.Done > 2*mib
		})
		plug(t, hosta, false)
		off := awaits(t, "has failed", m.Name(), func(m api.Machine) bool { return m.Failures > 0 && m.Running == nil })
		if off.Last.Outcome != "failed" || off.Last.Error == nil || off.Last.Error.Hint == "" {
			t.Errorf("%+v", off.Last)
		}
		plug(t, hosta, true)
		setLink(t, hosta, lab.Link{})
		back := time.Now()
		awaits(t, "is synced again", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.After(back) })
		writes(t, m, "echo alive >/mnt/vda/alive; sync")
	})
	t.Run("sshd allows one session only", func(t *testing.T) {
		const file = "/etc/ssh/sshd_config.d/one.conf"
		on(t, hosta, "sh", "-c", "echo MaxSessions 1 > "+file+" && systemctl reload ssh")
		t.Cleanup(func() {
			ctx, cancel := cleanupContext()
			defer cancel()
			if _, err := hosta.Run(ctx, "sh", "-c", "rm "+file+" && systemctl reload ssh"); err != nil {
				t.Error(err)
			}
		})
		killSSH(t)
		from := time.Now()
		awaits(t, "is synced twice", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.Sub(from) > 8*time.Second })
	})
	on(t, hostb, "systemctl", "stop", "vmsync")
	thawed(t, m)
	nothingLeft(t, m)
	if out, err := hosta.Run(t.Context(), "sh", "-c", "pgrep -af 'sshd: root@nott[y]' || :"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("connections of a service that has ended: %q, %v", out, err)
	}
}

// writes has a guest write, which one that was left frozen would never be done with. Its
// agent takes no commands while a sync has it frozen, so it is not asked.
func writes(t *testing.T, m *lab.Machine, line string) {
	t.Helper()
	if _, err := m.Control(t.Context(), line); err != nil {
		t.Fatal(err)
	}
}

// killSSH kills what serves SSH connections to hosta.
func killSSH(t *testing.T) {
	t.Helper()
	n, err := hosta.SignalAll("sshd: root@notty", syscall.SIGKILL)
	if err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
}

// logins counts how often somebody has logged in to hosta.
func logins(t *testing.T) int {
	t.Helper()
	return strings.Count(on(t, hosta, "journalctl", "-u", "ssh", "--no-pager"), "Accepted publickey")
}
