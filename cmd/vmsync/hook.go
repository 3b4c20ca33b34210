package main

import (
	"os"

	"github.com/spf13/cobra"

	"vmsync/internal/hook"
)

func hookCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "hook",
		Short:  "Run a hook of the configuration and end it in time (started by vmsync itself)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE:   func(*cobra.Command, []string) error { return hook.Main(os.Stdin, os.Stdout) },
	}
}
