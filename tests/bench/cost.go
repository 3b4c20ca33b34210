package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"time"

	"vmsync/tests/lab"
)

// cost is what something took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system time, of both hosts
}

func (c cost) String() string {
	return fmt.Sprintf("%.2f s, CPU %.2f s", c.wall.Seconds(), c.cpu.Seconds())
}

// measured runs a command in a host. Its cost is that of the command and of all
// that the hosts did in that time.
func (b *bench) measured(h *lab.Host, argv ...string) (stdout string, c cost, err error) {
	before, err := b.cpuTime()
	if err != nil {
		return "", c, err
	}
	var out, errs bytes.Buffer
	cmd := h.Command(b.ctx, argv...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return "", c, &lab.CommandError{Host: h.Name(), Argv: argv, Stderr: errs.String() + out.String(), Err: err}
	}
	c.wall = time.Since(start)
	after, err := b.cpuTime()
	c.cpu = after - before + processorTime(cmd.ProcessState)
	return out.String(), c, err
}

// cpuTime is what the processes of both hosts have used so far.
func (b *bench) cpuTime() (sum time.Duration, err error) {
	for _, h := range []*lab.Host{b.hosta, b.hostb} {
		t, err := h.CPUTime()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// processorTime is that of a command that has ended and of the children it
// waited for.
func processorTime(s *os.ProcessState) time.Duration { return s.UserTime() + s.SystemTime() }

// contender is one of several ways to do the same.
type contender struct {
	name string
	run  func() (cost, error)
}

// compare runs the contenders by turns, so that a slow spell of the machine hits
// all of them, and returns each one's medians.
func (b *bench) compare(rounds int, contenders ...contender) ([]cost, error) {
	costs := make([][]cost, len(contenders))
	for range rounds {
		for i, x := range contenders {
			c, err := x.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.name, err)
			}
			b.logf("  %s: %v", x.name, c)
			costs[i] = append(costs[i], c)
		}
	}
	medians := make([]cost, len(contenders))
	for i, c := range costs {
		medians[i] = cost{
			wall: median(c, func(c cost) time.Duration { return c.wall }),
			cpu:  median(c, func(c cost) time.Duration { return c.cpu }),
		}
	}
	return medians, nil
}

func median(costs []cost, of func(cost) time.Duration) time.Duration {
	var d []time.Duration
	for _, c := range costs {
		d = append(d, of(c))
	}
	slices.Sort(d)
	return (d[(len(d)-1)/2] + d[len(d)/2]) / 2
}
