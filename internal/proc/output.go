package proc

import (
	"bytes"
	"context"
	"fmt"
)

// OutputTooLargeError says that a program printed more than its caller is ready to
// take.
type OutputTooLargeError struct {
	Program string
	Max     int // bytes
}

func (e *OutputTooLargeError) Error() string {
	return fmt.Sprintf("%s printed more than %d bytes", e.Program, e.Max)
}

// Output runs a program to its end and returns what it wrote to stdout. More than
// max bytes kill the program and are an *OutputTooLargeError; other errors are
// those of Start and Wait. Cmd.Stdout must be nil.
func Output(ctx context.Context, c Cmd, max int) ([]byte, error) {
	if c.Stdout != nil || c.PipeStdout {
		return nil, fmt.Errorf("proc: Output of %q: stdout is already spoken for", c.Argv)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &limited{max: max, exceeded: func() {
		cancel(&OutputTooLargeError{Program: c.Argv[0], Max: max})
	}}
	c.Stdout = out
	p, err := Start(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := p.Wait(); err != nil {
		return nil, err
	}
	if out.over {
		return nil, &OutputTooLargeError{Program: c.Argv[0], Max: max}
	}
	return out.buf.Bytes(), nil
}

// limited keeps up to max bytes and drops the rest.
type limited struct {
	buf      bytes.Buffer
	max      int
	over     bool
	exceeded func()
}

func (l *limited) Write(b []byte) (int, error) {
	if l.over {
		return len(b), nil
	}
	if l.buf.Len()+len(b) > l.max {
		l.over = true
		l.exceeded()
		return len(b), nil
	}
	return l.buf.Write(b)
}
