//go:build docs

package main

import (
	"github.com/spf13/cobra"

	"vmsync/internal/manpages"
)

// addDocs adds the command with which a build makes the manual pages, run in the
// repository's root.
func addDocs(root *cobra.Command) { root.AddCommand(manpages.Command(nil)) }
