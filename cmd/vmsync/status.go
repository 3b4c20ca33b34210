package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/api"
	"vmsync/internal/status"
	"vmsync/internal/status/watch"
	"vmsync/internal/ui"
)

// errBroken is the end of a look that found a replica older than promised.
var errBroken = shownError{errors.New("a replica is older than promised")}

func statusCommand() *cobra.Command {
	var json, live bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show how the machines stand that the service replicates",
		Long: `Show how the machines stand that the service of this host replicates, or one of them: NAME, or SOURCE/NAME where
several sources have one. On a narrow terminal columns are shortened, then left out: what is wrong, the source, what is
being done, the role, the rate and what was sent first; --json has everything.

Below the table are the stores of whose filesystem less than a tenth is free.

The exit status is 1 if a replica is older than promised, or there is none yet, and 0 if not.

With --watch the terminal shows it live, with syncs that are under way, events, and for each machine how old its replica
had become at the end of its last syncs; ? shows the keys. Where the output is no terminal, or a dumb one, or with
--json, what happens from now on is printed instead, a line for each event. The exit status is 0 then.`,
		Example: `  vmsync status
  vmsync status vm1 --json
  vmsync status --watch`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := look(cmd.Context(), args)
			if err != nil {
				return err
			}
			if live {
				return watchStatus(cmd.Context(), args, json)
			}
			if json {
				for _, m := range st.Machines {
					if err := printJSON(m); err != nil {
						return err
					}
				}
			} else if err := tellStatus(cmd.Context(), st, len(args) == 1); err != nil {
				return err
			}
			for _, m := range st.Machines {
				if m.Broken() {
					return errBroken
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "one JSON object per machine and line; with --watch, per event")
	cmd.Flags().BoolVarP(&live, "watch", "w", false, "show it live")
	return cmd
}

// look asks the service for all machines, or one.
func look(ctx context.Context, args []string) (*api.Status, error) {
	client := theService()
	if len(args) == 0 {
		return client.Status(ctx)
	}
	m, err := client.Machine(ctx, args[0])
	if err != nil {
		return nil, err
	}
	return &api.Status{Machines: []api.Machine{*m}}, nil
}

// watchStatus shows how machines stand until the person has seen enough.
func watchStatus(ctx context.Context, args []string, json bool) error {
	only := ""
	if len(args) == 1 {
		only = args[0]
	}
	out := terminalOf(os.Stdout)
	if json || !out.moves || !terminalOf(os.Stdin).is {
		return watch.Lines(ctx, theService(), only, json, os.Stdout, func(message string) { fmt.Fprintln(os.Stderr, "vmsync:", message) })
	}
	return watch.Run(ctx, theService(), only, watch.Terminal{In: os.Stdin, Out: os.Stdout, Environ: os.Environ(), Colours: out.look.Colours})
}

// lastRuns is how many runs of a machine are shown.
const lastRuns = 10

// tellStatus shows machines as a table, and of a single one what else there is to know.
func tellStatus(ctx context.Context, st *api.Status, single bool) error {
	look := terminalOf(os.Stdout).look
	if err := errors.Join(status.Table(os.Stdout, st.Machines, time.Now(), look), status.Write(os.Stdout, status.Tight(st.Stores), look)); err != nil || !single {
		return err
	}
	m := &st.Machines[0]
	fmt.Printf("\n%s as %s in %s, %s\n", ui.Visible(m.Source+"/"+m.Name), ui.Visible(m.TargetDomain), ui.Visible(m.Store), m.Schedule)
	if m.Group != "" {
		fmt.Printf("in group %s: synced together with its other machines\n", ui.Clean(m.Group))
	}
	if m.Error != nil {
		fmt.Printf("error: %s\n  %s\n", ui.Clean(m.Error.Message), ui.Clean(m.Error.Hint))
	}
	runs, err := theService().Runs(ctx, m.Source+"/"+m.Name, lastRuns)
	if err != nil || len(runs) == 0 {
		return err
	}
	fmt.Println()
	return status.Runs(os.Stdout, runs, time.Now(), look)
}
