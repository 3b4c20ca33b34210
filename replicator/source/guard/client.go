package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 10 * time.Second
	exitTimeout  = 5 * time.Second
)

// Client is an agent's side of its guard. Tell may be called from several goroutines;
// nothing may be called after Dismiss or Abandon.
type Client struct {
	cmd *exec.Cmd

	mu   sync.Mutex // one line at a time
	pipe *os.File   // the guard's stdin
}

// Start starts a guard and returns when it watches. argv is the command that calls
// Main. The guard is a session leader without a parent-death signal and holds none
// of this process's descriptors but its end of the pipe, so that neither the end of
// this process nor that of its login session ends it.
func Start(ctx context.Context, argv []string) (*Client, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("start the guard: no command")
	}
	stdin, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	defer stdin.Close()
	ready, stdout, err := os.Pipe()
	if err != nil {
		pipe.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Dir = stdin, stdout, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	stdout.Close()
	if err != nil {
		pipe.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	c := &Client{cmd: cmd, pipe: pipe}
	if err := awaitReady(ctx, ready); err != nil {
		// It guards nothing yet.
		_ = cmd.Process.Kill()
		c.Abandon()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return c, nil
}

func awaitReady(ctx context.Context, ready *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// A deadline in the past ends the read when the context ends.
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReaderSize(ready, 64).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it does not get ready: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("it ended at once: %w", err)
	case line != readyLine:
		return fmt.Errorf("it says %q", line)
	}
	return nil
}

// Tell tells the guard something. When it returns nil the guard will know, even if
// this process is killed now.
func (c *Client) Tell(m Message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.pipe.SetWriteDeadline(time.Now().Add(exitTimeout)); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	if _, err := c.pipe.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	return nil
}

// Dismiss gives the all-clear and waits a few seconds for the guard's end.
func (c *Client) Dismiss() error {
	err := c.Tell(Message{Event: EventDone})
	c.pipe.Close()
	late := time.AfterFunc(exitTimeout, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	// Its status says nothing: it has been told that there is nothing to do.
	_ = c.cmd.Wait()
	return err
}

// Abandon leaves what is open to the guard and does not wait for it. A guard that
// was told of nothing ends at once.
func (c *Client) Abandon() {
	c.pipe.Close()
	// init, or nobody's business while this process lives on for a moment, reaps it.
	_ = c.cmd.Process.Release()
}
