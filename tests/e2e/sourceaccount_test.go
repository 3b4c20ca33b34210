package e2e

import (
	"os"
	"path"
	"strings"
	"testing"
)

// The account as which a source's machines are replicated instead of root.
const (
	account      = "vmsync-source"
	accountRun   = "/run/vmsync-source"
	accountState = "/var/lib/vmsync-source"
	uriAccount   = "qemu+ssh://" + account + "@hosta/system"

	libvirtdConfig = "/etc/libvirt/libvirtd.conf"
)

// makeAccount sets the account up on hosta as docs/SOURCE-ACCOUNT.md says, with libvirt's
// fine-grained rights.
func makeAccount(t *testing.T) {
	t.Helper()
	places := map[string]string{
		"sysusers.conf": "/etc/sysusers.d/vmsync-source.conf",
		"tmpfiles.conf": "/etc/tmpfiles.d/vmsync-source.conf",
		"libvirt.rules": "/etc/polkit-1/rules.d/40-vmsync-source.rules",
	}
	for name, at := range places {
		text, err := os.ReadFile("../../systemd/source-account/" + name)
		if err != nil {
			t.Fatal(err)
		}
		on(t, hosta, "mkdir", "-p", path.Dir(at))
		if err := hosta.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := hosta.ReadFile(libvirtdConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := hosta.WriteFile(libvirtdConfig, before, 0o600); err != nil {
			t.Error(err)
		}
		script := "loginctl terminate-user " + account + "; userdel " + account + "; rm -rf " + accountRun + " " + accountState
		for _, at := range places {
			script += " " + at
		}
		if out, err := hosta.Run(ctx, "sh", "-c", script+"; systemctl stop polkit; systemctl restart libvirtd"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	on(t, hosta, "systemd-sysusers", places["sysusers.conf"])
	on(t, hosta, "systemd-tmpfiles", "--create", places["tmpfiles.conf"])
	if err := hosta.WriteFile(libvirtdConfig, append(before, "\naccess_drivers = [ \"polkit\" ]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	on(t, hosta, "sh", "-c", "systemctl restart polkit libvirtd")
}

// authorize lets hostb's key run the agent as the account and nothing else, but for what
// the options of sshd(8) allow.
func authorize(t *testing.T, options string) {
	t.Helper()
	key := `restrict,command="` + binDir + `vmsync agent"` + options + " " + on(t, hostb, "sh", "-c", "cat /root/.ssh/*.pub")
	keys := accountState + "/.ssh/authorized_keys"
	if err := hosta.WriteFile(keys, []byte(key), 0o640); err != nil {
		t.Fatal(err)
	}
	on(t, hosta, "chgrp", account, keys)
}

// asAccount is the command line of a sync run on the target, with the account on the source.
func asAccount(domain string, more ...string) []string {
	return append([]string{"sync", domain, "--source-uri", uriAccount, "--json"}, more...)
}

// TestSourceNeedsNoRoot replicates a machine and a guest with an account that is not root on
// the source and may there do nothing but that, and kills its processes.
func TestSourceNeedsNoRoot(t *testing.T) {
	makeAccount(t)
	authorize(t, "")
	m := busyMachine(t)
	if s := succeeded(t, start(t, hostb, asAccount(m.Name(), "--transport", "direct")...).wait()); s.Kind != "full" || s.Transport != "direct" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	dirty(t, m, "vdb", 3*mib, mib, 7)
	authorize(t, ",port-forwarding")
	if s := succeeded(t, start(t, hostb, asAccount(m.Name(), "--transport", "ssh")...).wait()); s.Kind != "incremental" || s.Transport != "ssh" || s.ChangedBytes != mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
	authorize(t, "")

	t.Run("agent killed", func(t *testing.T) {
		randomData(t, m, "vda", 64*mib, 16*mib)
		slowly(t)
		r := midTransfer(t, m, hostb, asAccount(m.Name())...)
		killIn(t, r, victim{hosta, "vmsync agent"})
		eventually(t, "the guard has ended the job", func() bool { return !strings.Contains(strings.Join(litter(t, m), "\n"), "a job on") })
	})
	t.Run("all killed", func(t *testing.T) {
		slowly(t)
		r := midTransfer(t, m, hostb, asAccount(m.Name())...)
		on(t, hosta, "pkill", "-KILL", "-u", account, "-x", "vmsync|vmsync-nbd")
		failed(t, r.wait(), 1, "agent-lost", m.Name(), "")
		if left := strings.Join(litter(t, m), "\n"); !strings.Contains(left, accountState+"/scratch/") || !strings.Contains(left, "a job on") {
			t.Errorf("the job and its scratch file are not there: %s", left)
		}
	})
	if s := succeeded(t, start(t, hostb, asAccount(m.Name())...).wait()); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)

	t.Run("guest", guestOfAccount)
	t.Run("root is refused", func(t *testing.T) {
		e := failed(t, trySync(t, m.Name()), 1, "denied", m.Name(), "")
		if !strings.Contains(e.Hint, "qemu+ssh://"+account+"@") {
			t.Errorf("hint %q", e.Hint)
		}
	})
	t.Run("rights", func(t *testing.T) { rightsOfAccount(t, m.Name()) })
}

// guestOfAccount has a guest frozen for its checkpoint, and the agent die meanwhile.
func guestOfAccount(t *testing.T) {
	m := guest(t, qcow2("vda", 256*mib))
	inGuest(t, m, "sh", "-c", "echo one > /mnt/vda/one")
	if s := succeeded(t, start(t, hostb, asAccount(m.Name())...).wait()); s.Consistency != "filesystem" || s.Frozen <= 0 || s.Frozen > 10 {
		t.Errorf("%+v", s)
	}
	thawed(t, m)
	nothingLeft(t, m)
}

// rightsOfAccount has the account try what is none of its business.
func rightsOfAccount(t *testing.T, domain string) {
	for what, argv := range map[string][]string{
		"destroy":       {"virsh", "-c", "qemu:///system", "destroy", domain},
		"undefine":      {"virsh", "-c", "qemu:///system", "undefine", domain, "--checkpoints-metadata"},
		"define":        {"sh", "-c", "virsh -c qemu:///system dumpxml " + domain + " >/tmp/account.xml && virsh -c qemu:///system define /tmp/account.xml"},
		"a pool":        {"virsh", "-c", "qemu:///system", "pool-list"},
		"libvirt's own": {"ls", "/var/lib/libvirt/qemu"},
	} {
		out, err := hosta.Run(t.Context(), append([]string{"runuser", "-u", account, "--"}, argv...)...)
		if err == nil || !strings.Contains(err.Error()+out, "denied") {
			t.Errorf("%s: error %v, output %s", what, err, out)
		}
	}
	// The agent answers, not a shell, and ends with its input.
	if out, _ := hostb.Run(t.Context(), "timeout", "5", "ssh", "-n", "-o", "BatchMode=yes", account+"@hosta", "id"); strings.Contains(out, "uid=") {
		t.Errorf("a shell by SSH: %s", out)
	}
	if out := on(t, hosta, "virsh", "domstate", domain); !strings.Contains(out, "paused") {
		t.Errorf("the domain is %s", out)
	}
}
