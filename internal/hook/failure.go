package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Failure is a program that did not end well by itself.
type Failure struct {
	Status int            // exit status; -1 where it has none
	Signal syscall.Signal // that ended it; 0 if none did
	// Timeout is set when it was ended, or given up, because it took that long.
	Timeout time.Duration
	// Stays says what becomes of one that took too long and could not be ended.
	Stays  string
	Output string // the end of what it wrote, in one line
}

// Error says how it ended.
func (f *Failure) Error() string {
	var b strings.Builder
	switch {
	case f.Timeout > 0:
		fmt.Fprintf(&b, "it took longer than %v", f.Timeout)
		if f.Stays == "" {
			b.WriteString(" and was ended")
		}
	case f.Signal != 0:
		fmt.Fprintf(&b, "signal %d (%v) ended it", int(f.Signal), f.Signal)
	default:
		fmt.Fprintf(&b, "it ended with status %d", f.Status)
	}
	if f.Stays != "" {
		b.WriteString("; " + f.Stays)
	}
	if f.Output != "" {
		b.WriteString(": " + f.Output)
	}
	return b.String()
}

// startError puts into words why a program could not be started.
func startError(program string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, missing := os.Stat(program); missing == nil {
			return errors.New("the interpreter that its first line names is not there")
		}
		return errors.New("there is no such program")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("it may not be executed: is it an executable file?")
	case errors.Is(err, syscall.ENOEXEC):
		return errors.New("it is no program: a script needs a first line like #!/bin/sh")
	}
	return err
}
