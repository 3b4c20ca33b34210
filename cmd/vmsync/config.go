package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"vmsync/internal/config"
	"vmsync/systemd"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the service's configuration",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configCheckCommand(), configShowCommand(), configExampleCommand())
	return cmd
}

func configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, and say what is wrong with it",
		Long: `Check the configuration, by default ` + config.DefaultPath + `, and say what is wrong with it,
each thing with line and column. It reads the file and nothing else: whether hosts answer
and keys fit it does not see. A running service goes on with what it has.`,
		Example: `  vmsync config check
  vmsync config check ./vmsync.yaml`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadConfig(args)
			if err != nil {
				return err
			}
			named, patterns := 0, 0
			for _, e := range c.Entries() {
				if e.Pattern {
					patterns++
				} else {
					named++
				}
			}
			fmt.Printf("%s is sound: sources %d, machines by name %d, patterns %d\n", configFile(args), len(c.Sources), named, patterns)
			return nil
		},
	}
}

func configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a complete configuration, with comments",
		Example: `  vmsync config example > ` + config.DefaultPath,
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Print(systemd.Sample())
			return err
		},
	}
}

// configFile is the file that a command line names.
func configFile(args []string) string {
	return cmp.Or(append(args, config.DefaultPath)[0], config.DefaultPath)
}

// loadConfig reads it. What is wrong is shown as compilers do, so that editors find it.
func loadConfig(args []string) (*config.Config, error) {
	c, err := config.Load(configFile(args))
	if found := (config.Errors)(nil); errors.As(err, &found) {
		fmt.Fprintln(os.Stderr, found)
		return nil, shownError{err}
	}
	return c, err
}
