package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vmsync/internal/journal"
	"vmsync/replicator"
	"vmsync/replicator/logged"
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
			log := agentLog()
			from, to := remote.Reached(os.Getenv)
			return remote.Serve(cmd.Context(), os.Stdin, os.Stdout, remote.Ends{
				Source: func() replicator.SourceEnd {
					return logged.Source(source.New(source.Options{SeenFrom: from, Log: log}), log)
				},
				Target: func() replicator.TargetEnd { return logged.Target(target.New(to), log) },
			})
		},
	}
}

// agentLog logs to the controller, which shows it to whoever wants to see it, and to the
// journal of this host, where what was done to its machines stays known.
func agentLog() *slog.Logger {
	to := slog.Handler(slog.NewTextHandler(os.Stderr, nil))
	if host := journal.Host("vmsync"); host != nil {
		to = slog.NewMultiHandler(to, host)
	}
	return slog.New(to)
}
