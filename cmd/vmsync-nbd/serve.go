package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vmsync/nbdproxy/session"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "serve",
		Short:         "Read NBD exports and offer what changed as a stream",
		Long:          "serve reads a document from the first line of stdin (nbdproxy/spec, Serve) and reports events on stdout. It stops when stdin ends.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Serve(cmd.Context(), stdio())
		},
	}
}

// stdio connects a session to the process's own streams.
func stdio() session.IO {
	return session.IO{In: os.Stdin, Out: os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
}
