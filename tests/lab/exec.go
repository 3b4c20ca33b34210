package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// hostEnv is the environment of a command in a host: root's after a login, and
// nothing of the machine's.
func hostEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8",
	}
}

// Command prepares argv to run in the host as root in /, with the environment
// of a login; append to Env for more. If the host is down, Start fails.
//
// The command started is nsenter, which waits for the real one and ends as it
// does (same exit status, same signal). The two are different processes:
// Process.Kill would leave the real one running. Cancel the context, or use
// [Host.Signal], which both reach the real one.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	leader, err := h.leader()
	args := []string{
		"--target=" + strconv.Itoa(leader.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, argv...)...)
	if err != nil {
		cmd.Err = err
	} else if len(argv) == 0 {
		cmd.Err = errors.New("no command given")
	}
	cmd.Env = hostEnv()
	cmd.Cancel = func() error {
		err := signalInner(cmd, syscall.SIGKILL)
		if errors.Is(err, os.ErrProcessDone) {
			return cmd.Process.Kill() // nsenter has not forked yet
		}
		return err
	}
	return cmd
}

// Signal sends a signal to the process that a started [Host.Command] runs in
// the host. It returns os.ErrProcessDone if there is none any more.
func (h *Host) Signal(cmd *exec.Cmd, sig syscall.Signal) error { return signalInner(cmd, sig) }

// signalInner signals the child of nsenter. The machine sees the processes of
// all its containers.
func signalInner(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd.Process == nil {
		return errors.New("command is not started")
	}
	p := cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p, p))
	children := strings.Fields(string(b))
	if err != nil || len(children) == 0 {
		return os.ErrProcessDone
	}
	pid, err := strconv.Atoi(children[0])
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, sig); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return fmt.Errorf("send %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// CommandError is a command that ended with a failure in a host.
type CommandError struct {
	Host   string
	Argv   []string
	Stderr string
	Err    error // *exec.ExitError where the command ran
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Host, strings.Join(e.Argv, " "), e.Err)
	if e.Stderr != "" {
		s += ": " + strings.TrimSpace(e.Stderr)
	}
	return s
}

func (e *CommandError) Unwrap() error { return e.Err }

// ExitCode is the command's exit status, or -1 if it did not end by itself.
func (e *CommandError) ExitCode() int {
	var x *exec.ExitError
	if errors.As(e.Err, &x) {
		return x.ExitCode()
	}
	return -1
}

// Run runs argv in the host, see [Host.Command], and returns its standard
// output. A failure is a *[CommandError].
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := h.Command(ctx, argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return stdout.String(), &CommandError{Host: h.name, Argv: argv, Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

// Pids lists the host's processes whose command line contains match, by their
// pids in the host. The arguments are joined by spaces for the comparison.
func (h *Host) Pids(ctx context.Context, match string) ([]int, error) {
	outer, err := h.outerPids(match)
	var pids []int
	for _, pid := range outer {
		if inner := innerPid(pid); inner > 0 {
			pids = append(pids, inner)
		}
	}
	return pids, errors.Join(err, ctx.Err())
}

// SignalAll sends a signal to the host's processes whose command line contains match,
// at once: it starts no program for it. It returns how many there were.
func (h *Host) SignalAll(match string, sig syscall.Signal) (int, error) {
	pids, err := h.outerPids(match)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("send %v to process %d of host %s: %w", sig, pid, h.name, err)
		}
	}
	return len(pids), nil
}

// outerPids lists processes as [Host.Pids] does, by their pids on the machine.
func (h *Host) outerPids(match string) ([]int, error) {
	leader, err := h.leader()
	if err != nil {
		return nil, err
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", leader.PID))
	if err != nil {
		return nil, &HostDownError{Host: h.name}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); got != ns {
			continue
		}
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})), match) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// innerPid is a process's pid in its own pid namespace, 0 if it is gone.
func innerPid(pid int) int {
	st, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(st)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return 0
}

// Kill sends a signal to a process of the host, named by its pid there.
func (h *Host) Kill(ctx context.Context, pid int, sig syscall.Signal) error {
	_, err := h.Run(ctx, "kill", "-"+strconv.Itoa(int(sig)), "--", strconv.Itoa(pid))
	return err
}
