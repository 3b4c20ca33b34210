package lab

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hiddenDirs are the machine's folders that a host must not see. /root is among
// them because what the machine's user keeps there is nobody else's business.
var hiddenDirs = []struct {
	path string
	mode fs.FileMode
}{
	{"root", 0o700},
	{"etc/systemd/system", 0o755},
	{"etc/libvirt/qemu", 0o700},
	{"var/lib/libvirt/images", 0o711},
	{"var/lib/libvirt/boot", 0o711},
	{"var/lib/systemd", 0o755},
	{"var/lib/vmsync-lab", 0o700},
	{"var/log/libvirt", 0o700},
	{"var/log/journal", 0o755},
	{"var/cache/libvirt", 0o711},
	{"etc/ssh/ssh_config.d", 0o755},
	{"etc/ssh/sshd_config.d", 0o755},
}

// Sockets of the daemons of a Debian hypervisor host, as `systemctl enable
// libvirtd` leaves them; op has the client programs only.
var libvirtSockets = []string{
	"libvirtd", "libvirtd-ro", "libvirtd-admin",
	"virtlogd", "virtlogd-admin", "virtlockd", "virtlockd-admin",
}

// isHypervisor says whether a host runs libvirtd.
func isHypervisor(host string) bool { return host != "op" }

// rootFiles builds the upper layer of a host's root before it is mounted.
type rootFiles struct {
	dir string
	err error
}

func (r *rootFiles) file(path, content string, mode fs.FileMode) {
	if r.err != nil {
		return
	}
	p := filepath.Join(r.dir, path)
	if r.err = os.MkdirAll(filepath.Dir(p), 0o755); r.err == nil {
		r.err = replaceFile(p, []byte(content), mode)
	}
}

func (r *rootFiles) enable(target, unit string) {
	if r.err != nil {
		return
	}
	p := filepath.Join(r.dir, "etc/systemd/system", target+".wants", unit)
	if r.err = os.MkdirAll(filepath.Dir(p), 0o755); r.err == nil {
		r.err = os.Symlink("/lib/systemd/system/"+unit, p)
	}
}

func (r *rootFiles) hide() {
	for _, d := range hiddenDirs {
		if r.err != nil {
			return
		}
		p := filepath.Join(r.dir, d.path)
		if r.err = makeOpaque(p); r.err == nil {
			r.err = os.Chmod(p, d.mode)
		}
	}
}

// prepareRoot fills a host's upper layer: identity, names, keys, units.
func prepareRoot(lab, host string, hosts []string, keys *sshKeys) error {
	r := &rootFiles{dir: hostFile(lab, host, "upper")}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	r.hide()
	id := make([]byte, 16)
	rand.Read(id)
	r.file("etc/machine-id", hex.EncodeToString(id)+"\n", 0o444)
	r.file("etc/hostname", host+"\n", 0o644)
	r.file("etc/hosts", hostsFile(hosts), 0o644)
	// No resolver: a name that is not in /etc/hosts fails at once instead of hanging.
	r.file("etc/resolv.conf", "", 0o644)
	r.file("etc/fstab", "", 0o644)
	r.file("etc/tmpfiles.d/lab-loop.conf", loopNodes(), 0o644)

	r.file("etc/ssh/ssh_host_ed25519_key", keys.host[host].private, 0o600)
	r.file("etc/ssh/ssh_host_ed25519_key.pub", keys.host[host].public, 0o644)
	r.file("etc/ssh/sshd_config.d/lab.conf",
		"HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n", 0o644)
	r.file("root/.ssh/id_ed25519", keys.user.private, 0o600)
	r.file("root/.ssh/id_ed25519.pub", keys.user.public, 0o644)
	r.file("root/.ssh/authorized_keys", keys.user.public, 0o600)
	r.file("root/.ssh/known_hosts", keys.knownHosts(hosts), 0o600)
	if r.err == nil {
		r.err = os.Chmod(filepath.Join(r.dir, "root/.ssh"), 0o700)
	}

	if r.err == nil {
		r.err = os.Symlink("/lib/systemd/system/multi-user.target",
			filepath.Join(r.dir, "etc/systemd/system/default.target"))
	}
	r.enable("multi-user.target", "ssh.service")
	if isHypervisor(host) {
		for _, s := range libvirtSockets {
			r.enable("sockets.target", s+".socket")
		}
	}
	if r.err != nil {
		return fmt.Errorf("prepare the root of host %s: %w", host, r.err)
	}
	return nil
}

func hostsFile(hosts []string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for i, h := range hosts {
		fmt.Fprintf(&b, "%s %s\n", address(i), h)
	}
	return b.String()
}

// loopNodes makes systemd-tmpfiles create loop device nodes, since no udev runs
// in a container. The devices themselves are shared with the machine.
func loopNodes() string {
	var b strings.Builder
	for i := range 32 {
		fmt.Fprintf(&b, "b /dev/loop%d 0660 root disk - 7:%d\n", i, i)
	}
	return b.String()
}
