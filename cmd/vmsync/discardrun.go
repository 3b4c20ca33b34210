package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"vmsync/internal/ui"
	"vmsync/replicator/target"
)

func discardRunCommand() *cobra.Command {
	p := &place{}
	cmd := &cobra.Command{
		Use:   "discard-run DOMAIN",
		Short: "Give up what a replica wrote that was started, so that syncs go on",
		Long: `Give up what a replica wrote that was started, on purpose or by mistake. Its domain then boots the newest state
again, and syncs go on. The states themselves were never changed. It refuses while the replica runs: virsh destroy
ends it.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.at(cmd, args, args[0], func(ui.Output) error {
				return p.administer(cmd.Context(), args[0], func(a *target.Admin) error {
					written, err := a.DiscardRun(cmd.Context())
					if err != nil {
						return err
					}
					return p.tellDiscarded(args[0], written)
				})
			})
		},
	}
	p.add(cmd.Flags())
	return cmd
}

// discardedDisk is what was given up of a disk, as JSON.
type discardedDisk struct {
	Disk  string `json:"disk"`
	Bytes int64  `json:"bytes"`
}

func (p *place) tellDiscarded(domain string, written []target.Discarded) error {
	if p.json {
		disks := []discardedDisk{}
		for _, d := range written {
			disks = append(disks, discardedDisk(d))
		}
		return printJSON(struct {
			Domain string          `json:"domain"`
			Disks  []discardedDisk `json:"disks"`
		}{domain, disks})
	}
	if len(written) == 0 {
		fmt.Printf("%s: nothing to discard: the replica was not started since the last sync\n", ui.Clean(domain))
		return nil
	}
	fmt.Printf("%s: discarded what the replica wrote\n", ui.Clean(domain))
	for _, d := range written {
		fmt.Printf("  %s: %s on disk\n", d.Disk, ui.Bytes(d.Bytes))
	}
	return nil
}
