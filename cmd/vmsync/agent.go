package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vmsync/replicator"
	"vmsync/replicator/remote"
	"vmsync/replicator/source"
	"vmsync/replicator/target"
)

func agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "agent",
		Short:  "Serve one end of a replication over stdin and stdout (started by vmsync itself)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			survivePipes()
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			from, to := remote.Reached(os.Getenv)
			return remote.Serve(cmd.Context(), os.Stdin, os.Stdout, remote.Ends{
				Source: func() replicator.SourceEnd { return source.New(source.Options{SeenFrom: from, Log: log}) },
				Target: func() replicator.TargetEnd { return target.New(to) },
			})
		},
	}
}
