package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vmsync/internal/ssh"
)

// addSSHFlags adds the flags of every command that reaches other hosts.
func addSSHFlags(flags *pflag.FlagSet, o *ssh.Options) {
	flags.StringVar(&o.User, "ssh-user", "", "SSH user where the URI names none")
	flags.StringVar(&o.KeyFile, "ssh-key", "", "SSH private key file")
	flags.StringVar(&o.ConfigFile, "ssh-config", "", "SSH configuration file (default: ~/.ssh/config)")
}

func checkCompress(mode string) error {
	if !slices.Contains([]string{"auto", "none", "s2", "zstd"}, mode) {
		return fmt.Errorf("--compress %q: want auto, none, s2 or zstd", mode)
	}
	return nil
}

// arguments checks their number; a wrong one is a usageError.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
