package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vmsync/tests/lab"
)

func (a *app) open() (*lab.Lab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return lab.Open(a.name, self)
}

// host opens the lab and finds a host in it.
func (a *app) host(name string) (*lab.Host, error) {
	l, err := a.open()
	if err != nil {
		return nil, err
	}
	h := l.Host(name)
	if h == nil {
		return nil, fmt.Errorf("lab %s has no host %q", a.name, name)
	}
	return h, nil
}

func (a *app) up() *cobra.Command {
	var hosts, install []string
	c := &cobra.Command{
		Use:   "up",
		Short: "Make the lab, or boot those of its hosts that are down",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			files := map[string]string{}
			for _, i := range install {
				from, to, ok := strings.Cut(i, ":")
				if !ok {
					return fmt.Errorf("--install %q: want FILE:PATH-IN-HOST", i)
				}
				files[from] = to
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			start := time.Now()
			l, err := lab.Up(c.Context(), lab.Config{Name: a.name, Hosts: hosts, Install: files, Tool: self})
			if err != nil {
				return err
			}
			for _, h := range l.Hosts() {
				fmt.Printf("%-8s %s\n", h.Name(), h.Addr())
			}
			fmt.Printf("lab %s is up (%.1f s)\n", l.Name(), time.Since(start).Seconds())
			return nil
		},
	}
	c.Flags().StringSliceVar(&hosts, "hosts", nil, "hosts of a new lab (default hosta,hostb,op)")
	c.Flags().StringSliceVar(&install, "install", nil, "copy FILE:PATH-IN-HOST into every host")
	return c
}

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			return l.Down()
		},
	}
}

func list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all labs and their hosts",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			labs, err := lab.List()
			if err != nil {
				return err
			}
			for _, l := range labs {
				owner := "made by hand"
				if l.Owner != 0 {
					owner = "owned by process " + strconv.Itoa(l.Owner)
				}
				fmt.Printf("%s (%s)\n", l.Name, owner)
				for _, h := range l.Hosts {
					state := "down"
					if h.Running {
						state = "running"
					}
					fmt.Printf("  %-8s %-12s %s\n", h.Name, h.Addr, state)
				}
			}
			return nil
		},
	}
}

func gc() *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Remove labs whose owner is dead, and remains of killed ones",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return lab.Collect() },
	}
}

// contain and reap are what the lab runs its own processes with.
func contain() *cobra.Command {
	return &cobra.Command{
		Use:    "contain GROUP -- COMMAND",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE:   func(_ *cobra.Command, args []string) error { return lab.Contain(args[0], args[1:]) },
	}
}

func reap() *cobra.Command {
	return &cobra.Command{
		Use:    "reap LAB PID START",
		Hidden: true,
		Args:   cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			pid, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			start, err := strconv.ParseUint(args[2], 10, 64)
			if err != nil {
				return err
			}
			return lab.Reap(args[0], pid, start)
		},
	}
}
