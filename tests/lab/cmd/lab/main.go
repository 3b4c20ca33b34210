// Command lab runs hypervisor hosts on this machine, by hand. It is a thin
// layer over package lab: it must hold no logic of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	var status *exitError
	if errors.As(err, &status) {
		os.Exit(status.code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// app is what all commands share: the value of --name.
type app struct{ name string }

func rootCommand() *cobra.Command {
	a := &app{}
	c := &cobra.Command{
		Use:           "lab",
		Short:         "Real hypervisor hosts on one machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.PersistentFlags().StringVar(&a.name, "name", "lab", "which lab")
	c.AddCommand(a.up(), a.down(), a.exec(), a.shell(), list(), gc(),
		a.machine(), a.guest(), a.link(),
		a.crash(), a.boot(), a.smallfs(), a.fill(), a.copy(),
		contain(), reap(), wireCommand())
	return c
}
