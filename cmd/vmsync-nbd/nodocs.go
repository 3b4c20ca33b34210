//go:build !docs

package main

import "github.com/spf13/cobra"

// addDocs adds nothing: programs that are installed make no manual pages.
func addDocs(*cobra.Command) {}
