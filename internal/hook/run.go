package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// grace is between SIGTERM and SIGKILL.
	grace = 5 * time.Second
	// killLimit bounds how long killed processes may take to be gone: one that hangs in
	// the kernel may take for ever.
	killLimit = 10 * time.Second
	// overtime is how long the supervisor may take besides.
	overtime = 10 * time.Second
	// lastOutput is how long somebody may still hold the output open once all is over.
	lastOutput = time.Second
)

// report is what the supervisor says in the end.
type report struct {
	NotStarted string         `json:"not_started,omitempty"` // why
	Status     int            `json:"status"`
	Signal     syscall.Signal `json:"signal,omitempty"`
	TimedOut   bool           `json:"timed_out,omitempty"`
	Ended      bool           `json:"ended,omitempty"` // it was told to
	Left       int            `json:"left,omitempty"`  // processes that could not be killed
}

// Run runs a program and waits for its end, and that of all it started. Lines of its output
// are passed on as they come, by one goroutine, up to a bound. The supervisor is the command
// line that runs [Main].
//
// A program that does not end with status 0 in its time is a *[Failure]; one that cannot be
// started is another error. When ctx ends the program is ended, and the error is the
// context's cause.
func Run(ctx context.Context, supervisor []string, c Command, line func(string)) error {
	if err := c.check(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s, err := startSupervisor(supervisor)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	out := NewOutput(line)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(out, s.output) // it ends with the last who holds it, or below
		out.Close()
	}()
	r, err := s.wait(ctx, &c)
	// Whatever holds the output open now has got away.
	_ = s.output.SetReadDeadline(time.Now().Add(lastOutput))
	<-read
	s.close()
	switch {
	case ctx.Err() != nil && (err != nil || r.Ended):
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	return r.failure(c.Timeout, out.End())
}

// failure is what a report means.
func (r *report) failure(timeout time.Duration, output string) error {
	f := &Failure{Status: r.Status, Signal: r.Signal, Output: output}
	switch {
	case r.NotStarted != "":
		return errors.New(r.NotStarted)
	case r.TimedOut:
		f.Timeout = timeout
	case r.Status == 0 && r.Left == 0:
		return nil
	}
	if r.Left > 0 {
		f.Stays = fmt.Sprintf("%d processes of it could not be killed", r.Left)
	}
	return f
}

// supervisor is a running [Main].
type supervisor struct {
	cmd    *exec.Cmd
	life   *os.File // closing it ends the program
	report *os.File
	output *os.File
}

func startSupervisor(argv []string) (*supervisor, error) {
	var files [6]*os.File // pairs of a reading and a writing end
	for i := 0; i < len(files); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(files[:])
			return nil, err
		}
		files[i], files[i+1] = r, w
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[3], files[5]
	cmd.ExtraFiles = []*os.File{files[5]}
	// What ends this process, or its session, is not to end the one that cleans up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		closeAll(files[:])
		return nil, err
	}
	closeAll([]*os.File{files[0], files[3], files[5]})
	return &supervisor{cmd: cmd, life: files[1], report: files[2], output: files[4]}, nil
}

// wait tells the supervisor what to run and waits for its report.
func (s *supervisor) wait(ctx context.Context, c *Command) (report, error) {
	stop := context.AfterFunc(ctx, func() { s.life.Close() })
	defer stop()
	allowed := c.Timeout + grace + killLimit + overtime
	_ = s.report.SetReadDeadline(time.Now().Add(allowed))
	shorten := context.AfterFunc(ctx, func() { _ = s.report.SetReadDeadline(time.Now().Add(grace + killLimit + overtime)) })
	defer shorten()
	var r report
	if err := json.NewEncoder(s.life).Encode(c); err != nil {
		return r, fmt.Errorf("tell the supervisor: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(s.report, 64<<10)).Decode(&r); err != nil {
		return r, fmt.Errorf("the process that runs it has died or hangs: %w", err)
	}
	return r, nil
}

// close ends the supervisor, which has nothing to do any more. If it died too early, so has
// the program: it has a parent-death signal.
func (s *supervisor) close() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed
	closeAll([]*os.File{s.life, s.report, s.output})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
