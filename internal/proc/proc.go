// Package proc runs child processes that cannot outlive their parent.
//
// Every child gets a parent-death signal (SIGKILL) and a process group of its
// own, so that neither a crash of this program leaves it running nor a Ctrl-C
// meant for this program reaches it. When a child ends, whatever is left of its
// process group is killed with it.
//
// Two limits are the kernel's: the parent-death signal covers the child, not
// its children (they go when the child is reaped while this program lives), and
// executing a set-user-ID program clears it. A child that makes a session of its
// own leaves the group.
//
// The package must never run a command through a shell and never leave a child
// unreaped.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// DefaultGrace is the time between SIGTERM and SIGKILL when a Cmd names none.
const DefaultGrace = 5 * time.Second

// Cmd describes a child process.
type Cmd struct {
	// Argv is the program and its arguments. A program without a slash is looked
	// up in PATH.
	Argv []string
	// Package names what to install when the program is missing, for the error's
	// text; may be empty.
	Package string
	// Env is the environment; nil means this process's.
	Env []string
	// Dir is the working directory; empty means this process's.
	Dir string

	// Stdin is /dev/null when nil. An *os.File is handed to the child itself.
	Stdin io.Reader
	// PipeStdin makes Process.Stdin; Stdin must be nil then.
	PipeStdin bool
	// Stdout is /dev/null when nil. An *os.File is handed to the child itself.
	Stdout io.Writer
	// PipeStdout makes Process.Stdout; Stdout must be nil then.
	PipeStdout bool
	// Stderr additionally receives what the child writes to stderr; the last of it
	// is kept for error messages in any case. It is written to by one goroutine,
	// which has ended when Wait returns.
	Stderr io.Writer
	// ExtraFiles become the child's descriptors 3, 4, …
	ExtraFiles []*os.File

	// Grace is the time between SIGTERM and SIGKILL when the context ends;
	// DefaultGrace when zero.
	Grace time.Duration
}

// Process is a running or finished child. Its methods may be called from several
// goroutines at once.
type Process struct {
	// Stdin is the write end of the child's stdin if Cmd.PipeStdin was set. The
	// caller closes it; Stop and the context's end do so too.
	Stdin *os.File
	// Stdout is the read end of the child's stdout if Cmd.PipeStdout was set. It
	// stays readable after the child ended; the caller closes it.
	Stdout *os.File

	program  string
	pid      int
	tail     *tail
	collects bool          // its output goes through a goroutine of ours
	done     chan struct{} // closed when the child is reaped and err is set
	err      error

	mu     sync.Mutex
	exited bool  // the child is a zombie or reaped: its group id may be reused
	cause  error // why the context ended, if that came before the child's end
}

// Start starts the child. When ctx ends the child is stopped as by Stop, and
// Wait's error wraps the context's cause. The error is a *NotFoundError when
// there is no such program.
//
// The caller must call Wait or Stop; until the child is reaped it occupies one
// operating system thread, because the kernel sends the parent-death signal when
// the thread that forked ends, not the process.
func Start(ctx context.Context, c Cmd) (*Process, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("proc: empty argument list")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Argv[0], context.Cause(ctx))
	}
	p := &Process{program: c.Argv[0], tail: &tail{}, done: make(chan struct{})}
	cmd, childEnds, err := p.prepare(c)
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go p.own(cmd, started)
	err = <-started
	closeAll(childEnds)
	if err != nil {
		closeAll([]*os.File{p.Stdin, p.Stdout})
		return nil, startError(c, err)
	}
	go p.watch(ctx, c.Grace)
	return p, nil
}

// prepare builds the exec.Cmd and the pipes. The returned files are the child's
// ends of the pipes, to be closed once it runs.
func (p *Process) prepare(c Cmd) (*exec.Cmd, []*os.File, error) {
	if c.PipeStdin && c.Stdin != nil || c.PipeStdout && c.Stdout != nil {
		return nil, nil, errors.New("proc: a stream is both given and asked for as a pipe")
	}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = c.Stdin, c.Stdout, c.ExtraFiles
	cmd.Stderr = p.tail
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(p.tail, c.Stderr)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that left the group may hold a pipe open for ever. Where output
	// is collected, give a slow writer its time and call a cut an error.
	cmd.WaitDelay = time.Second
	if _, isFile := c.Stdout.(*os.File); c.Stdout != nil && !isFile {
		p.collects = true
		cmd.WaitDelay = 10 * time.Second
	}

	var childEnds []*os.File
	if c.PipeStdin {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, fmt.Errorf("start %s: %w", p.program, err)
		}
		cmd.Stdin, p.Stdin = r, w
		childEnds = append(childEnds, r)
	}
	if c.PipeStdout {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(append(childEnds, p.Stdin))
			return nil, nil, fmt.Errorf("start %s: %w", p.program, err)
		}
		cmd.Stdout, p.Stdout = w, r
		childEnds = append(childEnds, w)
	}
	return cmd, childEnds, nil
}

// PID returns the child's process id. After Wait returned it may be another
// process's.
func (p *Process) PID() int { return p.pid }

// Done is closed when the child has been reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// StderrTail returns the last lines the child has written to stderr so far.
func (p *Process) StderrTail() string { return p.tail.String() }

// Wait returns when the child has ended and been reaped: nil for exit status 0,
// an *ExitError otherwise. It may be called any number of times.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the child's process group. It does nothing when the
// child has ended.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exited {
		// The leader is alive or a zombie that nobody can reap while mu is held, so
		// the group is ours. ESRCH cannot happen; there is nobody to tell of EPERM.
		_ = syscall.Kill(-p.pid, sig)
	}
}

// Stop closes Stdin, sends SIGTERM, after grace SIGKILL, and returns what Wait
// returns. A grace of zero or less kills at once.
func (p *Process) Stop(grace time.Duration) error {
	if p.Stdin != nil {
		p.Stdin.Close()
	}
	if grace > 0 {
		p.Signal(syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return p.err
		case <-timer.C:
		}
	}
	p.Signal(syscall.SIGKILL)
	return p.Wait()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
