package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"vmsync/replicator/dataplane"
)

func streamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Look into a stream that `vmsync send` has made",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		inspectCommand("dump", "Show what is in a stream, frame by frame",
			`Show the header of a stream, a line for each frame, a summary of each disk, and last whether the stream is
sound. The stream is FILE, or comes on stdin. The exit status is 0 if it is sound, 1 if not. "first" and "last"
are offsets on the disk, of the first and the last byte that a frame is about.`,
			[2]string{"json", "one JSON object per line, with the domain's definition and its secrets"},
			[2]string{"extents", "list each extent"}),
		inspectCommand("verify", "Tell whether a stream is complete and undamaged",
			`Decompress and check everything in a stream, and say in one line whether it is sound. The stream is FILE, or
comes on stdin. The exit status is 0 if it is sound, 1 if not.`,
			[2]string{"json", "the line is a JSON object"}),
	)
	return cmd
}

// inspectCommand is a command of vmsync-nbd under the name that users look for it:
// this program has rights over every machine, and parses no streams.
func inspectCommand(name, short, long string, flags ...[2]string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " [FILE]",
		Short: short,
		Long:  long,
		Args:  arguments(cobra.MaximumNArgs(1)),
	}
	set := make([]bool, len(flags))
	for i, f := range flags {
		cmd.Flags().BoolVar(&set[i], f[0], false, f[1])
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		program, err := dataplane.Program()
		if err != nil {
			return err
		}
		argv := []string{program, name}
		for i, f := range flags {
			if set[i] {
				argv = append(argv, "--"+f[0])
			}
		}
		argv = append(append(argv, "--"), args...)
		return fmt.Errorf("run %s: %w", program, syscall.Exec(program, argv, os.Environ()))
	}
	return cmd
}
