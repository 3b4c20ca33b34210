package main

import (
	"github.com/spf13/cobra"

	"vmsync/nbdproxy/session"
)

func hashCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "hash",
		Short:         "Read NBD exports and make block indexes of them",
		Long:          "hash reads a document from the first line of stdin (nbdproxy/spec, Hash) and reports events on stdout. It stops when stdin ends.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Hash(cmd.Context(), stdio())
		},
	}
}
