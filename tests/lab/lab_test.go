package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// shared is the lab of all tests of this package; they run one after another
// and leave it as they found it. Nil where no lab can run.
var shared *lab.Lab

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	l, err := lab.Up(context.Background(), lab.Config{Name: lab.RandomName(), Owner: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	shared = l
	code := m.Run()
	if err := l.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	if left := traces(l.Name()); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "the lab left behind:", left)
		return 1
	}
	return code
}

// host returns a host of the shared lab, or skips the test.
func host(t *testing.T, name string) *lab.Host {
	t.Helper()
	if shared == nil {
		t.Skip("a lab needs root")
	}
	return shared.Host(name)
}

func run(t *testing.T, h *lab.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// traces lists what a lab of that name has on the machine.
func traces(name string) []string {
	var found []string
	for _, p := range []string{
		"/var/lib/vmsync-lab/" + name,
		"/sys/fs/cgroup/vmsync-lab/" + name,
		"/sys/fs/cgroup/unified/vmsync-lab/" + name,
		"/sys/fs/cgroup/systemd/vmsync-lab/" + name,
	} {
		if _, err := os.Lstat(p); err == nil {
			found = append(found, p)
		}
	}
	nspawn, _ := filepath.Glob("/run/systemd/nspawn/*/*vmsync-lab-" + name + "*")
	found = append(found, nspawn...)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/vmsync-lab/"+name) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range cmdlines {
		b, _ := os.ReadFile(c)
		if strings.Contains(string(b), "/vmsync-lab/"+name) {
			found = append(found, c+": "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func TestHostsReachEachOtherBySSHAndLibvirt(t *testing.T) {
	for _, from := range []string{"hosta", "hostb", "op"} {
		for _, to := range []string{"hosta", "hostb", "op"} {
			if got := run(t, host(t, from), "ssh", "root@"+to, "hostname"); got != to {
				t.Errorf("from %s: host %s calls itself %q", from, to, got)
			}
		}
	}
	if got := run(t, host(t, "op"), "virsh", "-q", "-c", "qemu+ssh://root@hostb/system", "list", "--all", "--name"); got != "" {
		t.Errorf("a new host has domains: %q", got)
	}
}

func TestHostsSeeNothingOfTheMachinesOwn(t *testing.T) {
	a := host(t, "hosta")
	for _, dir := range []string{"/etc/libvirt/qemu", "/var/lib/libvirt/images"} {
		if got := run(t, a, "find", dir, "-type", "f"); got != "" {
			t.Errorf("%s has files: %s", dir, got)
		}
	}
	if got := run(t, a, "ls", "-A", "/root"); got != ".ssh" {
		t.Errorf("/root has %q, want only .ssh", got)
	}
	name := "/etc/lab-" + lab.RandomName()
	run(t, a, "touch", name)
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a host's file is on the machine: %v", err)
	}
}

func TestExitStatusAndOutputArePassedOn(t *testing.T) {
	out, err := host(t, "op").Run(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 7")
	var ce *lab.CommandError
	if !errors.As(err, &ce) || ce.ExitCode() != 7 || ce.Stderr != "err\n" || out != "out\n" {
		t.Errorf("got output %q and error %v", out, err)
	}
}

func TestProcessorTimeCountsServicesThatHaveEnded(t *testing.T) {
	op := host(t, "op")
	before, err := op.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	// Until it has used 20 ticks of 10 ms.
	run(t, op, "systemd-run", "--quiet", "--wait", "bash", "-c",
		"until read -r -a stat </proc/self/stat && ((stat[13] + stat[14] >= 20)); do :; done")
	after, err := op.CPUTime()
	if err != nil || after-before < 200*time.Millisecond {
		t.Errorf("a service used 200 ms; the host's processor time went from %v to %v, %v", before, after, err)
	}
}

func TestCancelKillsTheCommandInTheHost(t *testing.T) {
	op := host(t, "op")
	ctx, cancel := context.WithCancel(t.Context())
	cmd := op.Command(ctx, "sleep", "98765")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		pids, err := op.Pids(t.Context(), "sleep 98765")
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	_ = cmd.Wait()
	if pids, err := op.Pids(t.Context(), "sleep 98765"); err != nil || len(pids) != 0 {
		t.Errorf("after cancel: processes %v, error %v", pids, err)
	}
}

func TestSignalAndKillReachTheProcessInTheHost(t *testing.T) {
	op := host(t, "op")
	cmd := op.Command(t.Context(), "sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pids, err := op.Pids(t.Context(), "trap 'exit 42'")
	if err != nil || len(pids) != 1 {
		t.Fatalf("processes %v, error %v", pids, err)
	}
	if err := op.Kill(t.Context(), pids[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit status %d, want the trap's 42", code)
	}
}

func TestCrashedHostComesBackWithItsFiles(t *testing.T) {
	b := host(t, "hostb")
	if err := b.WriteFile("/srv/kept", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	boot := run(t, b, "cat", "/proc/1/stat")
	if err := b.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	var down *lab.HostDownError
	if _, err := b.Run(t.Context(), "true"); !errors.As(err, &down) {
		t.Errorf("a command in a crashed host: %v", err)
	}
	if err := b.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := run(t, host(t, "op"), "ssh", "hostb", "cat /srv/kept"); got != "kept" {
		t.Errorf("file has %q", got)
	}
	if run(t, b, "cat", "/proc/1/stat") == boot {
		t.Error("the host has not been down")
	}
}

func TestSmallFSFillsUpAndFrees(t *testing.T) {
	a := host(t, "hosta")
	if err := a.SmallFS(t.Context(), "/srv/small", 8<<20); err != nil {
		t.Fatal(err)
	}
	defer run(t, a, "umount", "/srv/small")
	write := []string{"dd", "if=/dev/zero", "of=/srv/small/x", "bs=64k", "count=16", "status=none"}
	if err := a.Fill("/srv/small", 128<<10); err != nil {
		t.Fatal(err)
	}
	_, err := a.Run(t.Context(), write...)
	if err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("write to a full file system: %v", err)
	}
	if err := a.Unfill("/srv/small"); err != nil {
		t.Fatal(err)
	}
	run(t, a, write...)
	if err := a.Fill("/srv", 0); err == nil {
		t.Error("filling the machine's own file system was not refused")
	}
}

// orphan makes a small lab owned by a process of its own, and returns it with a
// function that kills that process.
func orphan(t *testing.T) (l *lab.Lab, kill func()) {
	t.Helper()
	host(t, "op")
	owner := exec.Command("sleep", "1000")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = owner.Process.Kill()
		_ = owner.Wait()
	}
	t.Cleanup(kill)
	cfg := lab.Config{Name: lab.RandomName(), Hosts: []string{"op"}, Tool: shared.Tool()}
	l, err := lab.UpOwnedBy(t.Context(), cfg, owner.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	if len(traces(l.Name())) == 0 {
		t.Fatal("the lab is not there")
	}
	return l, kill
}

func TestLabGoesWhenItsOwnerIsKilled(t *testing.T) {
	l, kill := orphan(t)
	kill()
	deadline := time.Now().Add(time.Minute)
	for len(traces(l.Name())) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if left := traces(l.Name()); len(left) > 0 {
		t.Errorf("a minute after its owner's death the lab has left: %v", left)
	}
}

func TestCollectRemovesALabWhoseReaperDiedToo(t *testing.T) {
	l, kill := orphan(t)
	if err := l.KillReaper(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Collect(); err != nil {
		t.Fatal(err)
	}
	if len(traces(l.Name())) == 0 {
		t.Error("a lab whose owner lives was removed")
	}
	kill()
	if err := lab.Collect(); err != nil {
		t.Fatal(err)
	}
	if left := traces(l.Name()); len(left) > 0 {
		t.Errorf("the lab has left: %v", left)
	}
}
