package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nspawnArgs is the command that runs a host.
func nspawnArgs(lab, host string) []string {
	args := []string{
		"systemd-nspawn", "--boot", "--quiet",
		"--directory=" + hostFile(lab, host, "root"),
		"--machine=" + machineName(lab, host), "--hostname=" + host,
		"--network-namespace-path=" + hostFile(lab, host, "net"),
		"--register=no", "--keep-unit",
		"--capability=all", "--private-users=no",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--console=pipe",
	}
	// Not /dev/kvm: guests are emulated, and a device that the kernel offers but
	// qemu's user may not open makes libvirt probe qemu anew for every command.
	for _, dev := range []string{"/dev/fuse", "/dev/net/tun", "/dev/loop-control"} {
		if _, err := os.Stat(dev); err == nil {
			args = append(args, "--bind="+dev)
		}
	}
	return args
}

// machineName is what systemd-nspawn knows a host by; unique on the machine.
func machineName(lab, host string) string { return "vmsync-lab-" + lab + "-" + host }

// Contain moves the calling process into a lab's cgroup and becomes argv. It is
// what the lab's own helper command runs; it returns only on failure.
func Contain(group string, argv []string) error {
	if err := enterCgroup(group); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// child is a helper process that this one started.
type child struct {
	pid  int
	done <-chan struct{} // closed when it has ended
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// spawn starts a long-lived process of the lab: in its cgroup, in a session of
// its own, its output in log. If this process lives on, it reaps it.
func (l *Lab) spawn(group, log string, env []string, argv ...string) (*child, error) {
	if err := makeCgroup(group); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	roots, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Join(roots[0], group))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.Command(l.tool, append([]string{"contain", group, "--"}, argv...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	// Born in the cgroup: whoever removes the lab at this moment finds it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	done := make(chan struct{})
	l.children.Go(func() { _ = cmd.Wait(); close(done) })
	return &child{pid: cmd.Process.Pid, done: done}, nil
}

// Boot starts a host that is down and waits until its systemd says that all is
// running and its libvirtd, if it has one, answers. Booting a running host is
// success.
func (h *Host) Boot(ctx context.Context) error {
	if _, err := h.leader(); err == nil {
		return nil
	}
	lab, name := h.lab.name, h.name
	group := filepath.Join(labCgroup(lab), name)
	if err := removeCgroup(group); err != nil { // what a crash left
		return err
	}
	env := []string{"UNIFIED_CGROUP_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"}
	nspawn, err := h.lab.spawn(group, hostFile(lab, name, "console.log"), env, nspawnArgs(lab, name)...)
	if err != nil {
		return fmt.Errorf("boot host %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	leader, err := waitLeader(ctx, nspawn)
	if err == nil {
		err = writeJSON(hostFile(lab, name, "leader.json"), leader)
	}
	if err == nil {
		err = h.waitReady(ctx)
	}
	if err == nil {
		err = h.Link(ctx, true)
	}
	if err != nil {
		return fmt.Errorf("boot host %s: %w; its console: %s", name, err, tail(hostFile(lab, name, "console.log")))
	}
	return nil
}

// waitLeader waits for pid 1 of the container that nspawn is starting.
func waitLeader(ctx context.Context, nspawn *child) (process, error) {
	for {
		if nspawn.ended() {
			return process{}, errors.New("systemd-nspawn ended")
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn.pid, nspawn.pid))
		for _, c := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(c)
			if err == nil && isSystemd(pid) {
				if p, ok := findProcess(pid); ok {
					return p, nil
				}
			}
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return process{}, fmt.Errorf("wait for its pid 1: %w", err)
		}
	}
}

// isSystemd says whether a process is pid 1 of a namespace and has become
// systemd; before that it is still nspawn, setting up mounts.
func isSystemd(pid int) bool {
	st, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(st)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			if len(f) < 2 || f[len(f)-1] != "1" {
				return false
			}
		}
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm)) == "systemd"
}

func (h *Host) waitReady(ctx context.Context) error {
	for {
		out, err := h.Run(ctx, "systemctl", "is-system-running", "--wait")
		state := strings.TrimSpace(out)
		if state == "running" {
			break
		}
		if state == "degraded" || state == "maintenance" {
			failed, _ := h.Run(ctx, "systemctl", "--failed", "--no-legend", "--plain")
			return fmt.Errorf("systemd says %s; failed units: %s", state, strings.TrimSpace(failed))
		}
		if e := sleep(ctx, 30*time.Millisecond); e != nil {
			return fmt.Errorf("systemd is not up (%q, %w): %w", state, err, e)
		}
	}
	if !isHypervisor(h.name) {
		return nil
	}
	if _, err := h.Run(ctx, "virsh", "-c", "qemu:///system", "version"); err != nil {
		return fmt.Errorf("libvirtd does not answer: %w", err)
	}
	return nil
}

// Crash ends a host as the loss of its hypervisor process would: its link goes
// down, then every process in it is killed, without a chance to say goodbye.
// Its disks stay as they are. What the machine's page cache holds is not lost.
func (h *Host) Crash(ctx context.Context) error {
	leader, err := h.leader()
	if err != nil {
		return fmt.Errorf("crash host %s: %w", h.name, err)
	}
	if err := h.Link(ctx, false); err != nil {
		return err
	}
	if err := syscall.Kill(leader.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("crash host %s: %w", h.name, err)
	}
	if err := leader.waitDead(); err != nil {
		return err
	}
	return removeCgroup(filepath.Join(labCgroup(h.lab.name), h.name))
}

// Running says whether the host is up.
func (h *Host) Running() bool {
	_, err := h.leader()
	return err == nil
}

// leader is the host's pid 1 as the machine knows it.
func (h *Host) leader() (process, error) {
	var p process
	b, err := os.ReadFile(hostFile(h.lab.name, h.name, "leader.json"))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || !p.alive() {
		return process{}, &HostDownError{Host: h.name}
	}
	return p, nil
}

// HostDownError says that an operation needs a running host.
type HostDownError struct{ Host string }

func (e *HostDownError) Error() string {
	return fmt.Sprintf("host %s is down; boot it with `lab boot %s`", e.Host, e.Host)
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
