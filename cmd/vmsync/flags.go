package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vmsync/internal/ssh"
	"vmsync/internal/units"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator/remote"
)

// addSSHFlags adds the flags of every command that reaches other hosts.
func addSSHFlags(flags *pflag.FlagSet, o *ssh.Options) {
	flags.StringVar(&o.User, "ssh-user", "", "SSH user where the URI names none")
	flags.StringVar(&o.KeyFile, "ssh-key", "", "SSH private key file")
	flags.StringVar(&o.ConfigFile, "ssh-config", "", "SSH configuration file (default: ~/.ssh/config)")
}

// addAccessFlags adds those of a command that reaches a source, which may be without SSH.
func addAccessFlags(flags *pflag.FlagSet, a *remote.Access) {
	addSSHFlags(flags, &a.SSH)
	flags.StringVar(&a.TLSDir, "tls-dir", remote.DefaultTLSDir, "folder with this host's certificates, for a vmsync+tls:// source")
}

func addCompressFlag(flags *pflag.FlagSet, mode *string) {
	flags.StringVar(mode, "compress", "auto", "auto, none, s2, zstd or zstd:LEVEL (1 to 22)")
}

func checkCompress(mode string) error {
	if _, err := spec.ParseCompression(mode); err != nil {
		return fmt.Errorf("--compress: %w", err)
	}
	return nil
}

func addRateFlag(flags *pflag.FlagSet, rate *string) {
	flags.StringVar(rate, "rate", "", "send at most so many bytes per second, e.g. 50M (default: no limit)")
}

// parseRate reads the value of a --rate flag; empty is no limit.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	rate, err := units.ParseRate(text)
	if err != nil {
		return 0, fmt.Errorf("--rate: %w", err)
	}
	return rate, nil
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
