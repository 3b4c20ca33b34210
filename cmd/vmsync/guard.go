package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"vmsync/replicator/source/guard"
)

func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "guard",
		Short:  "Thaw a guest whose agent died (started by vmsync itself)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return guard.Main(context.WithoutCancel(cmd.Context()), os.Stdin, os.Stdout, guard.Options{})
		},
	}
}
