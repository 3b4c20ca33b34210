// Package hook runs an administrator's program on this host so that nothing of it
// outlives its time, its caller or its caller's host program.
//
// [Run] starts a supervisor ([Main], which `vmsync hook` is), and that the program. The
// supervisor has a session of its own and holds the read end of a pipe: when the pipe
// closes, because Run's context has ended or because the process that called Run was
// killed, it ends the program. It is the reaper of all that the program starts, also of
// what has left the program's process group or session, and leaves nothing of it: when
// the program has ended, by itself or not, what it started and is still there is killed.
//
// The program gets /dev/null for stdin, one pipe for stdout and stderr, the folder / and
// no environment but the one it is given. No shell reads its arguments.
//
// The package must never run a program by a relative path, and never hold more of its
// output than a few KiB.
package hook

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Limits of what is run.
const (
	maxArguments = 1000
	maxBytes     = 100 << 10 // of all arguments, or of all of the environment; Linux has 128 KiB for one
	// MaxTimeout bounds a program's time.
	MaxTimeout = 24 * time.Hour
)

// Command is a program to run.
type Command struct {
	Argv    []string      `json:"argv"` // the program's absolute path, and its arguments
	Env     []string      `json:"env"`  // all of its environment, NAME=value
	Timeout time.Duration `json:"timeout"`
}

// ErrRefused says that a command is none that this package runs.
var ErrRefused = errors.New("not run")

// check says whether the command may be run at all.
func (c *Command) check() error {
	switch {
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return fmt.Errorf("%w: no program is named", ErrRefused)
	case !filepath.IsAbs(c.Argv[0]):
		return fmt.Errorf("%w: %q is not an absolute path", ErrRefused, c.Argv[0])
	}
	return CheckSize(c.Argv, c.Env, c.Timeout)
}

// CheckSize says whether arguments and environment can be passed on to a program, on
// whatever system, and whether its time is bounded.
func CheckSize(argv, env []string, timeout time.Duration) error {
	for _, list := range [][]string{argv, env} {
		size := 0
		for _, text := range list {
			if strings.ContainsRune(text, 0) {
				return fmt.Errorf("%w: %q has a NUL in it", ErrRefused, text)
			}
			size += len(text) + 1
		}
		if len(list) > maxArguments || size > maxBytes {
			return fmt.Errorf("%w: %d arguments or variables of %d bytes are too many", ErrRefused, len(list), size)
		}
	}
	if timeout <= 0 || timeout > MaxTimeout {
		return fmt.Errorf("%w: a timeout of %v is none", ErrRefused, timeout)
	}
	return nil
}
