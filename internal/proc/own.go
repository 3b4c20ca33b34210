package proc

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// own forks the child and reaps it, on one thread that nothing else runs on: the
// parent-death signal is sent when the forking thread ends, and Go ends threads
// as it likes.
func (p *Process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil

	// Look at the end without reaping: as long as the zombie is there its process
	// group id is not reused, and what is left of the group can be killed safely.
	waitForZombie(p.pid)
	p.mu.Lock()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.exited = true
	p.mu.Unlock()

	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) && !p.collects {
		// The child is gone and nothing it wrote is lost; somebody it started only
		// holds its stderr.
		err = nil
	}
	p.err = p.result(cmd.ProcessState, err)
	close(p.done)
}

// watch stops the child when ctx ends first.
func (p *Process) watch(ctx context.Context, grace time.Duration) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.mu.Lock()
		p.cause = context.Cause(ctx)
		p.mu.Unlock()
		if grace == 0 {
			grace = DefaultGrace
		}
		// The result is Wait's to tell.
		_ = p.Stop(grace)
	}
}

func waitForZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
