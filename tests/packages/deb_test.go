package packages

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

const (
	configFile = "/etc/vmsync/vmsync.yaml"
	configText = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system'}\nretry: {first: 2s, max: 5s}\n" +
		"machines: [{name: 'kept-*', every: 5s, keep: 2}]\napi: {group: vmsync}\n"
	flagsFile = "/etc/vmsync/sync.conf"
	flagsText = "OPTIONS=\"" + fromHosta + "\"\n"
	keyFile   = "/etc/vmsync/id_ed25519"
)

// TestDebianPackageFromInstallationToPurge installs, configures, upgrades, hangs, reboots,
// crashes, removes and purges.
func TestDebianPackageFromInstallationToPurge(t *testing.T) {
	m := machine(t, "kept-one")
	install(t, hosta, oldVersion)
	install(t, hostb, oldVersion)
	t.Run("installed", installed)
	t.Run("units are sound", unitsAreSound)
	t.Run("manual pages are sound", pagesAreSound)

	put(t, hostb, configFile, configText)
	put(t, hostb, flagsFile, flagsText)
	put(t, hostb, keyFile, "secret\n")
	on(t, hostb, "vmsync config check && systemctl enable --now vmsync.service")
	fresh(t, m)
	says(t, hostb, "stat -c '%a %G' /run/vmsync/vmsync.sock", "660 vmsync")
	says(t, hostb, "vmsync __completeNoDesc sync k 2>/dev/null", "kept-one\n:4")

	t.Run("upgrade in the middle of a sync", func(t *testing.T) { upgrade(t, m) })
	t.Run("watchdog", func(t *testing.T) { hang(t, m) })
	t.Run("reboot", func(t *testing.T) { reboot(t, m) })
	t.Run("crash", func(t *testing.T) { crash(t, m) })
	t.Run("remove", remove)
	t.Run("install again and purge", purge)
}

// installed checks what an installation leaves: all there, and nothing begun.
func installed(t *testing.T) {
	says(t, hostb, "dpkg --verify vmsync", "")
	says(t, hostb, "vmsync --version", "vmsync version "+oldDescribed)
	says(t, hostb, "systemctl is-enabled vmsync.service", "disabled")
	says(t, hostb, "systemctl is-active vmsync.service", "inactive")
	says(t, hostb, "systemctl preset vmsync.service vmsync-sync@x.timer && systemctl is-enabled vmsync.service", "disabled")
	says(t, hostb, "stat -c '%n %a %U' /run/vmsync /var/lib/vmsync /etc/vmsync", "/run/vmsync 755 root\n/var/lib/vmsync 711 root\n/etc/vmsync 755 root")
	says(t, hostb, "getent group vmsync | cut -d: -f1", "vmsync")
	says(t, hostb, "vmsync config check /usr/share/doc/vmsync/examples/vmsync.yaml", "/usr/share/doc/vmsync/examples/vmsync.yaml is sound: sources 2, machines by name 4, patterns 2")
	says(t, hostb, "readlink -e /usr/sbin/mount.vmsync /usr/share/zsh/vendor-completions/_vmsync", "/usr/bin/vmsync\n/usr/share/zsh/site-functions/_vmsync")
	says(t, hostb, "bash -c '. /usr/share/bash-completion/completions/vmsync; complete -p vmsync' | grep -o ' vmsync$'", "vmsync")
	// It would fail, and say that there is no configuration.
	if out, err := try(t.Context(), hostb, "systemctl start vmsync.service"); err == nil {
		t.Errorf("it starts without a configuration: %s", out)
	}
	on(t, hostb, "systemctl stop vmsync.service")
}

func unitsAreSound(t *testing.T) {
	for _, unit := range []string{"vmsync.service", "vmsync-sync@web1.service", "vmsync-sync@web1.timer", "vmsync-mount@mnt-vmsync.service",
		"vmsync-nbdproxy.service", "vmsync-nbdproxy.socket"} {
		says(t, hostb, "systemd-analyze verify "+unit, "")
	}
	for unit, most := range map[string]int{"vmsync.service": 35, "vmsync-sync@.service": 35, "vmsync-mount@.service": 60, "vmsync-nbdproxy.service": 35} {
		on(t, hostb, fmt.Sprintf("systemd-analyze security --offline=true --threshold=%d /usr/lib/systemd/system/%s", most, unit))
	}
}

func pagesAreSound(t *testing.T) {
	if n := on(t, hostb, "dpkg -L vmsync | grep -c '/man[157]/.*gz$'"); n < "30" {
		t.Errorf("only %s manual pages", n)
	}
	says(t, hostb, "for page in $(dpkg -L vmsync | grep '/man[157]/.*gz$'); do zcat $page | groff -k -t -man -ww -z -Tutf8 || echo $page; done", "")
	if out := on(t, hostb, "MANWIDTH=200 man vmsync.yaml | cat"); !strings.Contains(out, "min_changed_max_age") {
		t.Errorf("man vmsync.yaml shows\n%s", out)
	}
}

// upgrade upgrades both hosts while a sync is under way on a slow link.
func upgrade(t *testing.T, m *lab.Machine) {
	if err := hosta.SetLink(t.Context(), lab.Link{Rate: 40e6}); err != nil {
		t.Fatal(err)
	}
	randomData(t, m)
	eventually(t, "a sync is in the middle of its transfer", func() bool {
		s := standing(t, m.Name())
		return s.Running != nil && s.Running.Phase == "transfer" && s.Running.Done > mib
	})
	before := show(t, "MainPID", "vmsync.service")
	upgradeTo(t, hostb, newVersion)
	says(t, hostb, "systemctl is-active vmsync.service; systemctl is-enabled vmsync.service", "active\nenabled")
	if after := show(t, "MainPID", "vmsync.service"); after == before || after == "0" {
		t.Errorf("the service was not restarted: process %s, then %s", before, after)
	}
	says(t, hostb, "cat "+configFile, strings.TrimSpace(configText))
	says(t, hostb, "cat "+flagsFile, strings.TrimSpace(flagsText))
	says(t, hostb, "vmsync --version", "vmsync version "+newDescribed)
	if err := hosta.SetLink(t.Context(), lab.Link{}); err != nil {
		t.Fatal(err)
	}
	upgradeTo(t, hosta, newVersion)
	fresh(t, m)
	if log := on(t, hostb, "journalctl -u vmsync.service --no-pager"); !strings.Contains(log, newDescribed) {
		t.Errorf("the log does not tell of the new version:\n%s", log)
	}
}

// randomData fills 32 MiB of the machine's disk with what does not compress.
func randomData(t *testing.T, m *lab.Machine) {
	t.Helper()
	on(t, hosta, "head -c 32M /dev/urandom >/tmp/random; chmod 644 /tmp/random")
	if out, err := m.QemuIO(t.Context(), "vda", "write -s /tmp/random 16M 32M"); err != nil {
		t.Fatal(out, err)
	}
}

// hang stops the service's process, which the watchdog notices.
func hang(t *testing.T, m *lab.Machine) {
	const dropIn = "/etc/systemd/system/vmsync.service.d/fast.conf"
	put(t, hostb, dropIn, "[Service]\nWatchdogSec=4\n")
	on(t, hostb, "systemctl daemon-reload && systemctl restart vmsync.service")
	fresh(t, m)
	if n, err := hostb.SignalAll("vmsync serve", syscall.SIGSTOP); err != nil || n != 1 {
		t.Fatalf("stopped %d processes, %v", n, err)
	}
	eventually(t, "the watchdog has it restarted", func() bool { return show(t, "NRestarts", "vmsync.service") == "1" })
	if log := on(t, hostb, "journalctl -u vmsync.service --no-pager"); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("it was not the watchdog:\n%s", log)
	}
	fresh(t, m)
	on(t, hostb, "rm -r /etc/systemd/system/vmsync.service.d && systemctl daemon-reload && systemctl restart vmsync.service")
}

// reboot shuts hostb down in good order and boots it.
func reboot(t *testing.T, m *lab.Machine) {
	// The connection ends with the host.
	_, _ = hostb.Run(t.Context(), "systemctl", "--no-block", "poweroff")
	eventually(t, "hostb is down", func() bool { return !hostb.Running() })
	if err := hostb.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, 8*mib, mib, 8)
	fresh(t, m)
}

func crash(t *testing.T, m *lab.Machine) {
	if err := hostb.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := hostb.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, 9*mib, mib, 9)
	fresh(t, m)
}

// remove removes the package of a service that runs, with a tree mounted and a timer.
func remove(t *testing.T) {
	on(t, hostb, "mkdir -p /mnt/vmsync && systemctl enable --now vmsync-mount@mnt-vmsync.service vmsync-sync@nobody.timer")
	says(t, hostb, "ls /mnt/vmsync", "kept-one")
	on(t, hostb, "vmsync pause kept-one")
	eventually(t, "no sync is under way", func() bool { return standing(t, "kept-one").Running == nil })
	before := replicas(t)
	t.Log(on(t, hostb, "dpkg -r vmsync"))
	if after := replicas(t); after != before {
		t.Errorf("a replica was changed:\n%s\nnow\n%s", before, after)
	}
	says(t, hostb, "systemctl list-units --all --no-legend 'vmsync*' | grep -v slice", "")
	says(t, hostb, "systemctl list-unit-files --no-legend 'vmsync*'", "")
	says(t, hostb, "find /etc/systemd/system -name '*vmsync*'", "")
	says(t, hostb, "mountpoint /mnt/vmsync", "/mnt/vmsync is not a mountpoint")
	says(t, hostb, "cat "+configFile, strings.TrimSpace(configText))
	says(t, hostb, "cat "+flagsFile, strings.TrimSpace(flagsText))
	says(t, hostb, "ls /var/lib/vmsync-service", "history.db")
}

// purge installs the package again, which has the old configuration, and purges it.
func purge(t *testing.T) {
	install(t, hostb, newVersion)
	says(t, hostb, "systemctl is-active vmsync.service; vmsync config check >/dev/null && echo sound", "inactive\nsound")
	before := replicas(t)
	if !strings.Contains(before, "manifest.json") {
		t.Fatalf("there is no replica:\n%s", before)
	}
	t.Log(on(t, hostb, "dpkg -P vmsync"))
	if after := replicas(t); after != before {
		t.Errorf("a replica was changed:\n%s\nnow\n%s", before, after)
	}
	says(t, hostb, "find /etc/vmsync /etc/default/vmsync-mount /var/lib/vmsync-service 2>/dev/null", "/etc/vmsync\n"+keyFile)
	says(t, hostb, "virsh domstate kept-one", "shut off")
	says(t, hostb, "dpkg -l vmsync 2>/dev/null | grep -c ^ii", "0")
}
