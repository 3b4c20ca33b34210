package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Process is a program running on the host. Its methods may be called from
// several goroutines.
type Process struct {
	// Stdin is the program's stdin; closing it is the program's end of file.
	Stdin io.WriteCloser
	// Stdout and Stderr are what it writes. Both must be read: at 2 MiB unread, in
	// sum, the program blocks. They end with the connection as with the program;
	// Wait tells which.
	Stdout, Stderr io.Reader

	client  *Client
	program string
	session *ssh.Session
	ctx     context.Context
	stop    func() bool // ends the watch on ctx

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
	done      chan struct{} // closed when the program has ended and err is set
	err       error
}

// Command starts a program on the host. Argv reaches it unchanged, through the
// login shell of the user, which must be one that reads POSIX quotes. When ctx
// ends, the process is closed as by Close and Wait returns the context's cause.
func (c *Client) Command(ctx context.Context, argv []string) (*Process, error) {
	if len(argv) == 0 {
		return nil, errors.New("ssh: empty argument list")
	}
	if slices.ContainsFunc(argv, func(a string) bool { return strings.ContainsRune(a, 0) }) {
		return nil, fmt.Errorf("ssh: an argument of %s contains a NUL byte", argv[0])
	}
	p := &Process{client: c, program: argv[0], ctx: ctx,
		closed: make(chan struct{}), done: make(chan struct{})}
	session, err := await(ctx, func() (*ssh.Session, error) {
		session, err := c.ssh.NewSession()
		if err != nil {
			return nil, err
		}
		if err := p.start(session, argv); err != nil {
			session.Close()
			return nil, err
		}
		return session, nil
	}, func(s *ssh.Session) { s.Close() })
	if err != nil {
		return nil, c.explain(fmt.Sprintf("run %s", argv[0]), err)
	}
	p.session = session
	p.stop = context.AfterFunc(ctx, func() { p.Close() })
	waiting := c.task(func() {
		p.err = p.result(session.Wait())
		p.stop()
		close(p.done)
	})
	if !waiting {
		p.stop()
		p.Close()
		return nil, c.explain(fmt.Sprintf("run %s", argv[0]), errClosed)
	}
	return p, nil
}

func (p *Process) start(session *ssh.Session, argv []string) (err error) {
	if p.Stdin, err = session.StdinPipe(); err != nil {
		return err
	}
	if p.Stdout, err = session.StdoutPipe(); err != nil {
		return err
	}
	if p.Stderr, err = session.StderrPipe(); err != nil {
		return err
	}
	return session.Start(Quote(argv))
}

// Wait returns when the program has ended: nil for status 0, a *NotFoundError for
// status 127, an *ExitError for any other, a *ConnectError if the connection
// ended first. After Close, or when ctx has ended, it does not wait: the error then
// wraps net.ErrClosed or the context's cause.
func (p *Process) Wait() error {
	select {
	case <-p.done:
		return p.err
	case <-p.closed:
	}
	select {
	case <-p.done:
		return p.err
	default:
		return p.abandoned()
	}
}

func (p *Process) abandoned() error {
	if p.ctx.Err() != nil {
		return fmt.Errorf("%s on %s was stopped: %w", p.program, p.client.host, context.Cause(p.ctx))
	}
	return fmt.Errorf("%s on %s: %w", p.program, p.client.host, errClosed)
}

// Close lets go of the program: its stdin ends and what it still writes is lost.
// It does not wait for it to end.
func (p *Process) Close() error {
	p.closeOnce.Do(func() {
		p.session.Close()
		close(p.closed)
	})
	return nil
}

func (p *Process) result(err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() == "" && exit.ExitStatus() == 127:
		return &NotFoundError{Host: p.client.host, Program: p.program}
	case errors.As(err, &exit):
		return &ExitError{Host: p.client.host, Program: p.program, Status: exit.ExitStatus(), Signal: exit.Signal()}
	case p.ctx.Err() != nil:
		return p.abandoned()
	}
	return p.client.explain(fmt.Sprintf("wait for %s", p.program), err)
}

// explain prefers the reason why the connection is gone to its consequences.
func (c *Client) explain(what string, err error) error {
	if lost := c.Err(); lost != nil {
		return fmt.Errorf("%s: %w", what, lost)
	}
	return fmt.Errorf("%s on %s: %w", what, c.host, err)
}

// await runs open, which knows no contexts, and returns early when ctx ends; what
// open then still returns is given to discard. Open ends with the connection at
// the latest.
func await[T any](ctx context.Context, open func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	if ctx.Err() != nil {
		return zero, context.Cause(ctx)
	}
	results := make(chan result)
	go func() {
		v, err := open()
		select {
		case results <- result{v, err}:
		case <-ctx.Done():
			if err == nil {
				discard(v)
			}
		}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// NotFoundError says that the host has no such program.
type NotFoundError struct {
	Host    string
	Program string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("program %s not found on %s: install it there, or check the PATH of non-interactive logins",
		e.Program, e.Host)
}

// ExitError says how a program on the host ended when it was not with status 0.
type ExitError struct {
	Host    string
	Program string
	Status  int    // exit status; 128 and more when a signal ended it
	Signal  string // name without "SIG", e.g. "KILL"; empty when it exited by itself
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("%s on %s was ended by SIG%s", e.Program, e.Host, e.Signal)
	}
	return fmt.Sprintf("%s on %s failed with status %d", e.Program, e.Host, e.Status)
}
