package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// NotFoundError says that there is no such program. It unwraps to the cause.
type NotFoundError struct {
	Program string
	Package string // what to install, if known
	Err     error
}

func (e *NotFoundError) Error() string {
	if e.Package != "" {
		return fmt.Sprintf("program %s not found: install the package %s", e.Program, e.Package)
	}
	return fmt.Sprintf("program %s not found", e.Program)
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// ExitError says how a child ended when it was not with status 0, or when it was
// stopped because its context ended. It unwraps to Cause.
type ExitError struct {
	Program string
	Status  int            // exit status; -1 when a signal ended it
	Signal  syscall.Signal // 0 when it exited by itself
	Stderr  string         // the last lines it wrote to stderr
	Cause   error          // the context's cause, or what else went wrong; may be nil
}

func (e *ExitError) Error() string {
	var b strings.Builder
	b.WriteString(e.Program)
	switch {
	case e.Cause != nil:
		fmt.Fprintf(&b, " was stopped: %v", e.Cause)
	case e.Signal != 0:
		fmt.Fprintf(&b, " was ended by signal %d (%v)", int(e.Signal), e.Signal)
	default:
		fmt.Fprintf(&b, " failed with status %d", e.Status)
	}
	if e.Stderr != "" {
		b.WriteString(": ")
		b.WriteString(e.Stderr)
	}
	return b.String()
}

func (e *ExitError) Unwrap() error { return e.Cause }

// result turns what exec.Cmd.Wait returned into what Process.Wait returns.
func (p *Process) result(state *os.ProcessState, err error) error {
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	if err == nil && cause == nil {
		return nil
	}
	e := &ExitError{Program: p.program, Status: -1, Stderr: p.tail.String(), Cause: cause}
	if state != nil {
		e.Status = state.ExitCode()
		if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal()
		}
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && cause == nil {
		e.Cause = err // copying to or from the child failed
	}
	return e
}

// startError types the error of a child that did not start.
func startError(c Cmd, err error) error {
	// A missing working directory gives the same errno as a missing program.
	if c.Dir != "" {
		if _, statErr := os.Stat(c.Dir); statErr != nil {
			return fmt.Errorf("start %s in its working directory: %w", c.Argv[0], statErr)
		}
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &NotFoundError{Program: c.Argv[0], Package: c.Package, Err: err}
	}
	return fmt.Errorf("start %s: %w", c.Argv[0], err)
}
