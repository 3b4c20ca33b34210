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
	var forClient, streamFolder string
	var machines []string
	cmd := &cobra.Command{
		Use:    "agent",
		Short:  "Serve one end of a replication over stdin and stdout (started by vmsync itself)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			survivePipes()
			log := agentLog()
			if forClient != "" {
				return remote.Serve(cmd.Context(), os.Stdin, os.Stdout, remote.Ends{PullOnly: true, Source: func() replicator.SourceEnd {
					return logged.Source(source.New(source.Options{SeenFrom: forClient, ForClient: true, Machines: machines, StreamFolder: streamFolder, Log: log}), log)
				}})
			}
			from, to := remote.Reached(os.Getenv)
			return remote.Serve(cmd.Context(), os.Stdin, os.Stdout, remote.Ends{
				Source: func() replicator.SourceEnd {
					return logged.Source(source.New(source.Options{SeenFrom: from, Log: log}), log)
				},
				Target: func() replicator.TargetEnd { return logged.Target(target.New(to), log) },
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&forClient, "for-client", "", "be a source and nothing else, for a client at this address who came over TLS")
	flags.StringArrayVar(&machines, "machine", nil, "let that client have machines whose names match this pattern, and no others; repeatable")
	flags.StringVar(&streamFolder, "stream-folder", "", "folder for the socket of the run's stream")
	return cmd
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
