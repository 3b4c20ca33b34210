package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vmsync/nbdproxy/inspect"
)

func dumpCommand() *cobra.Command {
	var o inspect.Options
	cmd := &cobra.Command{
		Use:   "dump [FILE]",
		Short: "Show what is in a stream, frame by frame",
		Long: `dump reads a stream from FILE, or from stdin, and shows its header, a line for each frame, a summary of each
disk, and last whether the stream is sound. The exit status is 0 if it is, 1 if not. "first" and "last" are
offsets on the disk, of the first and the last byte that a frame is about.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspectFile(cmd, args, func(in io.Reader) error { return inspect.Dump(in, os.Stdout, o) })
		},
	}
	cmd.Flags().BoolVar(&o.JSON, "json", false, "one JSON object per line, the state object included")
	cmd.Flags().BoolVar(&o.Extents, "extents", false, "list each extent")
	return cmd
}

func verifyCommand() *cobra.Command {
	var o inspect.Options
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Tell whether a stream is complete and undamaged",
		Long: `verify reads a stream from FILE, or from stdin, decompresses and checks everything in it, and says in one line
whether the stream is sound. The exit status is 0 if it is, 1 if not.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspectFile(cmd, args, func(in io.Reader) error { return inspect.Verify(in, os.Stdout, o) })
		},
	}
	cmd.Flags().BoolVar(&o.JSON, "json", false, "the line is a JSON object")
	return cmd
}

// inspectFile opens the stream that a command line names.
func inspectFile(cmd *cobra.Command, args []string, do func(io.Reader) error) error {
	cmd.SilenceErrors = true
	// Nothing needs to be undone: signals end the program as they always do.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	in := os.Stdin
	switch {
	case len(args) == 1 && args[0] != "-":
		f, err := os.Open(args[0])
		if err != nil {
			return complain(err)
		}
		defer f.Close()
		in = f
	case term.IsTerminal(int(os.Stdin.Fd())):
		return complain(errors.New("no stream: name a FILE, or bring one on stdin"))
	}
	err := do(in)
	if _, said := errors.AsType[*inspect.Error](err); err == nil || said {
		return err
	}
	return complain(err)
}

// complain says what keeps the program from its work; what is wrong with a stream is
// said on stdout.
func complain(err error) error {
	fmt.Fprintln(os.Stderr, "vmsync-nbd:", err)
	return err
}
