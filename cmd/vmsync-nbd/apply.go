package main

import (
	"github.com/spf13/cobra"

	"vmsync/nbdproxy/session"
)

func applyCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "apply",
		Short:         "Take a stream and write it to NBD servers",
		Long:          "apply reads a document from the first line of stdin (nbdproxy/spec, Apply) and reports events on stdout. It stops when stdin ends.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Apply(cmd.Context(), stdio())
		},
	}
}
