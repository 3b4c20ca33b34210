package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"

	"vmsync/internal/ssh"
	"vmsync/replicator"
)

// Run runs vmsync on the host with these arguments and waits for its end. What it
// writes goes to stdout and stderr as it is. Stdin may be nil. A status other than 0
// gives an error with an *ssh.ExitError in it. When ctx ends, the program is left to
// itself; it finds that nobody reads what it writes.
func (h *sshHost) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	p, err := h.client.Command(ctx, append([]string{"vmsync"}, args...))
	if err != nil {
		return h.lost("start vmsync on "+h.name, err)
	}
	defer p.Close()
	go func() {
		if stdin != nil {
			_, _ = io.Copy(p.Stdin, stdin) // a program that does not read its stdin to the end may
		}
		p.Stdin.Close()
	}()
	var wg sync.WaitGroup
	var outErr, errErr error
	pass := func(to io.Writer, from io.Reader, err *error) {
		if _, *err = io.Copy(to, from); *err != nil {
			p.Close() // it would wait for ever for somebody to read on
		}
	}
	wg.Go(func() { pass(stdout, p.Stdout, &outErr) })
	wg.Go(func() { pass(stderr, p.Stderr, &errErr) })
	wg.Wait()
	if err := errors.Join(outErr, errErr); err != nil {
		return err
	}
	err = p.Wait()
	if _, missing := errors.AsType[*ssh.NotFoundError](err); missing {
		return h.notInstalled(err)
	}
	return err
}

func (h *sshHost) notInstalled(err error) error {
	return &replicator.Error{Kind: replicator.KindProgramMissing, Op: "start vmsync on " + h.name,
		Hint: "install vmsync on " + h.name + ", in a folder that is in the PATH of non-interactive SSH commands, such as /usr/local/bin",
		Err:  err}
}

// Run is like that of a host reached through SSH, but the program ends with ctx.
func (h localHost) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return &ssh.ExitError{Host: "this host", Program: "vmsync", Status: exit.ExitCode()}
	}
	return err
}
