package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/tests/lab"
)

// restart boots hosts that are down and starts machines that are off, as their owners
// would. It returns the machines that it started.
func (c *campaign) restart(ctx context.Context, s *scene) (map[*machine]bool, error) {
	g, boot := errgroup.WithContext(ctx)
	for _, h := range c.lab.Hosts() {
		if h.Running() {
			continue
		}
		g.Go(func() error {
			if err := h.Boot(boot); err != nil {
				return err
			}
			return c.plugIn(boot, h)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	started := make(map[*machine]bool)
	for _, m := range s.machines {
		again, err := m.start(ctx)
		if err != nil {
			return nil, err
		}
		started[m] = again
	}
	return started, nil
}

// start starts the machine if it is off. One that is going off goes first.
func (s *machine) start(ctx context.Context) (started bool, err error) {
	state := ""
	if err := eventually(ctx, time.Minute, "the machine is on or off", func() (bool, error) {
		state, err = s.m.State(ctx)
		return err == nil && state != "in shutdown", err
	}); err != nil {
		return false, err
	}
	if state != "shut off" && state != "crashed" {
		return false, nil
	}
	if !s.guest {
		return true, s.m.StartPaused(ctx)
	}
	if err := s.m.Start(ctx); err != nil {
		return true, err
	}
	// Answered when the guest is up; an agent that is asked before that is lost.
	if _, err := s.m.Control(ctx, "true"); err != nil {
		return true, err
	}
	return true, s.m.WaitAgent(ctx)
}

// plugIn plugs a host's cable in and returns when it can be reached: who asked for
// its address while it could not may be told so for a second longer.
func (c *campaign) plugIn(ctx context.Context, h *lab.Host) error {
	if err := h.Link(ctx, true); err != nil {
		return err
	}
	for _, from := range c.lab.Hosts() {
		if from == h || !from.Running() {
			continue
		}
		if err := eventually(ctx, time.Minute, h.Name()+" can be reached", func() (bool, error) {
			conn, err := from.Dial(ctx, "tcp", net.JoinHostPort(h.Addr(), "22"))
			if err != nil {
				return false, err
			}
			return true, conn.Close()
		}); err != nil {
			return err
		}
	}
	return nil
}

// eventually waits until f says that something is so, for a bounded time. What f
// complains of until then is told when it never is.
func eventually(ctx context.Context, limit time.Duration, what string, f func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		ok, err := f()
		if ok {
			return err
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("after %v it is still not so that %s", limit, what), err)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
