package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable tells the second process the number of the file to which it says that it
// is ready.
const variable = "VMSYNC_READY_FD"

// ready is what it says.
const ready = "ready"

// ExitError is the end of the second process before it was ready. It has said why on
// stderr.
type ExitError struct{ Status int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

// Start runs this program's command line again in the background, in a session of its
// own, and returns when that process is ready, or has failed.
func Start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), variable+"=3")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(r)
	if err == nil && string(said) == ready {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status := exit.ExitCode(); status > 0 {
			return &ExitError{status}
		}
		return fmt.Errorf("the process in the background ended: %w", err)
	}
	return errors.Join(err, errors.New("the process in the background ended before it was ready"))
}

// Child is the second process.
type Child struct{ ready *os.File }

// Started returns the second process's side, or nil in a process that [Start] has not
// started.
func Started() *Child {
	fd, err := strconv.Atoi(os.Getenv(variable))
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(variable) // it is not for processes that this one starts
	unix.CloseOnExec(fd)
	return &Child{os.NewFile(uintptr(fd), "ready")}
}

// Ready lets the first process end, and this one leave its terminal and its folder.
func (c *Child) Ready() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if _, err := c.ready.WriteString(ready); err != nil {
		return err
	}
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return errors.Join(c.ready.Close(), os.Chdir("/"))
}

// Log is a log in the system's own, for who has no terminal; stderr where there is none.
func Log(name string) *slog.Logger {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_WARNING, name)
	if err != nil {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
}

// withoutTime leaves out what the system's log adds itself.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	return a
}
