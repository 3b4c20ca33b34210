package main

import (
	"github.com/spf13/cobra"

	"vmsync/fusefs"
)

func umountCommand() *cobra.Command {
	lazy := false
	cmd := &cobra.Command{
		Use:   "umount MOUNTPOINT",
		Short: "Unmount what vmsync mount has mounted",
		Long: `Unmount what vmsync mount has mounted, also what a vmsync that was killed has left. It touches no other mount.

With --lazy it goes away at once, even if somebody uses it; who has a file open can go on with it.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return fusefs.Unmount(args[0], lazy)
		},
	}
	cmd.Flags().BoolVar(&lazy, "lazy", false, "also if it is in use")
	return cmd
}
