package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/tests/lab"
)

func (a *app) exec() *cobra.Command {
	return &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARG…]",
		Short: "Run a command in a host; its exit status is passed on",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			cmd := h.Command(c.Context(), args[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"))
			return passStatus(cmd.Run())
		},
	}
}

func (a *app) shell() *cobra.Command {
	return &cobra.Command{
		Use:   "shell HOST",
		Short: "A login shell in a host",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			cmd := h.Command(c.Context(), "/bin/bash", "-l")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"))
			return passStatus(cmd.Run())
		},
	}
}

// passStatus makes the status of a command in a host that of the lab command.
func passStatus(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &exitError{exit.ExitCode()}
	}
	return err
}

func (a *app) crash() *cobra.Command {
	return &cobra.Command{
		Use:   "crash HOST",
		Short: "Cut a host's link and kill all in it",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			return h.Crash(c.Context())
		},
	}
}

func (a *app) boot() *cobra.Command {
	return &cobra.Command{
		Use:   "boot HOST",
		Short: "Boot a host that crashed",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			return h.Boot(c.Context())
		},
	}
}

func (a *app) smallfs() *cobra.Command {
	return &cobra.Command{
		Use:   "smallfs HOST DIR SIZE",
		Short: "Mount an empty tmpfs of that size (64M, 1G) in a host",
		Args:  cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			size, err := lab.ParseSize(args[2])
			if err != nil {
				return err
			}
			return h.SmallFS(c.Context(), args[1], size)
		},
	}
}

func (a *app) fill() *cobra.Command {
	var leave string
	var free bool
	c := &cobra.Command{
		Use:   "fill HOST DIR",
		Short: "Take all free space of a smallfs, or give it back",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			if free {
				return h.Unfill(args[1])
			}
			n, err := lab.ParseSize(leave)
			if err != nil {
				return err
			}
			return h.Fill(args[1], n)
		},
	}
	c.Flags().StringVar(&leave, "leave", "0", "how much to leave free")
	c.Flags().BoolVar(&free, "free", false, "give the space back")
	return c
}

func (a *app) copy() *cobra.Command {
	return &cobra.Command{
		Use:   "cp FILE HOST:PATH",
		Short: "Copy a file of the machine into a host, replacing atomically",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			host, path, ok := strings.Cut(args[1], ":")
			if !ok {
				return fmt.Errorf("%q: want HOST:PATH", args[1])
			}
			h, err := a.host(host)
			if err != nil {
				return err
			}
			return h.CopyIn(args[0], path)
		},
	}
}
