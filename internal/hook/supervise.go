package hook

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputFD is the descriptor that the program's output goes to.
const outputFD = 3

// Main is the supervisor: it reads a [Command] from life, runs it, and ends it when it takes
// too long, when life ends, or when it gets a signal itself. It returns when nothing of the
// program is left, and has said then how it ended.
func Main(life io.Reader, answer io.Writer) error {
	in := bufio.NewReader(life)
	line, err := in.ReadBytes('\n')
	var c Command
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return fmt.Errorf("hook: read what to run: %w", err)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, in) // nothing comes: it ends
	}()
	r, err := supervise(&c, gone, told)
	if err != nil {
		return err
	}
	return json.NewEncoder(answer).Encode(r)
}

// family is the program and all that it started.
type family struct {
	leader int // also the number of its process group

	mu     sync.Mutex // nobody is reaped while it is held, so that no number is another's
	reaped bool       // the leader is
	ended  chan unix.WaitStatus
	empty  chan struct{} // closed when none are left
}

func supervise(c *Command, gone <-chan struct{}, told <-chan os.Signal) (report, error) {
	// The program gets a signal when the thread that started it ends, be it by SIGKILL.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return report{}, fmt.Errorf("hook: become the reaper of what is run: %w", err)
	}
	f, err := start(c)
	if err != nil {
		return report{NotStarted: startError(c.Argv[0], err).Error(), Status: -1}, nil
	}
	go f.reap()
	late := time.NewTimer(c.Timeout)
	defer late.Stop()
	var r report
	var status unix.WaitStatus
	select {
	case status = <-f.ended:
	case <-late.C:
		r.TimedOut = true
		status = f.end()
	case <-gone:
		r.Ended = true
		status = f.end()
	case <-told:
		r.Ended = true
		status = f.end()
	}
	r.Status = status.ExitStatus()
	if status.Signaled() {
		r.Signal = status.Signal()
	}
	r.Left = f.clear()
	return r, nil
}

// start starts the program in a process group of its own.
func start(c *Command) (*family, error) {
	keepToOurselves()
	output := os.NewFile(outputFD, "output")
	defer output.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p, err := os.StartProcess(c.Argv[0], c.Argv, &os.ProcAttr{Dir: "/", Env: c.Env, Files: []*os.File{null, output, output},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return nil, err
	}
	f := &family{leader: p.Pid, ended: make(chan unix.WaitStatus, 1), empty: make(chan struct{})}
	_ = p.Release() // reap waits for it, as for all others
	return f, nil
}

// keepToOurselves lets the program inherit no file but those that it is given. This process
// may have some from whoever started it.
func keepToOurselves() {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		unix.CloseOnExec(outputFD)
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// reap reaps all that ends, until nothing is left.
func (f *family) reap() {
	defer close(f.empty)
	for {
		// Look first: what has ended keeps its number until the lock is held.
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil { // there are no children: nothing else can be wrong
			return
		}
		f.mu.Lock()
		var status unix.WaitStatus
		pid, _ := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if pid == f.leader && !f.reaped {
			f.reaped = true
			f.ended <- status
		}
		f.mu.Unlock()
	}
}

// end ends the program: it and its group are asked to, and killed if they don't.
func (f *family) end() unix.WaitStatus {
	for _, try := range []struct {
		signal  syscall.Signal
		patient time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, killLimit}} {
		f.mu.Lock()
		if !f.reaped {
			_ = unix.Kill(-f.leader, try.signal) // of several it is enough to reach one
		}
		f.mu.Unlock()
		select {
		case status := <-f.ended:
			return status
		case <-time.After(try.patient):
		}
	}
	return unix.WaitStatus(syscall.SIGKILL) // that it will die of
}

// clear kills what is left of the family and tells how many could not be killed. The children
// of one that dies become this process's own.
func (f *family) clear() (left int) {
	deadline := time.After(killLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		f.mu.Lock()
		children := childrenOf(os.Getpid())
		for _, pid := range children {
			_ = unix.Kill(pid, syscall.SIGKILL) // it is a child, and not reaped
		}
		f.mu.Unlock()
		select {
		case <-f.empty:
			return 0
		case <-deadline:
			return max(len(children), 1)
		case <-time.After(pause):
		}
	}
}
