package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/internal/event"
	"vmsync/internal/store"
	"vmsync/internal/ui"
	"vmsync/replicator/target"
)

func pruneCommand() *cobra.Command {
	p := &place{}
	var keep string
	var dry bool
	cmd := &cobra.Command{
		Use:   "prune DOMAIN",
		Short: "Delete the states of a replica that its policy does not keep",
		Long: `Delete the states of a replica that a policy does not keep, and give their space back: the replica's own policy, as
every sync does, or that of --keep, for this once. To change the replica's policy, give --keep to vmsync sync.

The newest state always stays, and so do those that a mount or an export uses; the next sync or prune looks at them
again.`,
		Example: `  vmsync prune vm1 --keep last=3,daily=7 --dry-run`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeep(keep); err != nil {
				return usageError{err}
			}
			return p.at(cmd, args, args[0], func(out ui.Output) error {
				if dry {
					return p.foretell(cmd.Context(), args[0], keep)
				}
				return p.administer(cmd.Context(), args[0], func(a *target.Admin) error {
					r, err := a.Prune(cmd.Context(), keep)
					return p.tellRemoved(out, args[0], r, err)
				})
			})
		},
	}
	flags := cmd.Flags()
	p.add(flags)
	flags.StringVar(&keep, "keep", "", "keep what this policy keeps, this once: 0, N, or a grid: "+keepExample)
	flags.BoolVar(&dry, "dry-run", false, "only list what would go")
	return cmd
}

// removedStates tells as JSON what went, or would go.
type removedStates struct {
	Domain string   `json:"domain"`
	Gone   []string `json:"gone"`
	Kept   []string `json:"kept,omitempty"` // that would stay, of a dry run
	Held   []string `json:"held,omitempty"` // in words
	Freed  int64    `json:"freed_bytes"`
	DryRun bool     `json:"dry_run,omitempty"`
}

func (p *place) tellRemoved(out event.Sink, domain string, r *target.Removed, err error) error {
	if r == nil {
		return err
	}
	for _, w := range r.Warnings {
		out.Emit(event.Warning{Message: w})
	}
	if p.json {
		return errors.Join(err, printJSON(removedStates{Domain: domain, Gone: append([]string{}, r.States...), Held: r.Held, Freed: r.Freed}))
	}
	name := ui.Clean(domain)
	switch len(r.States) {
	case 0:
		fmt.Printf("%s: nothing to delete\n", name)
	case 1:
		fmt.Printf("%s: deleted %s; %s freed\n", name, r.States[0], ui.Bytes(r.Freed))
	default:
		fmt.Printf("%s: deleted %d states, %s; %s freed\n", name, len(r.States), strings.Join(r.States, ", "), ui.Bytes(r.Freed))
	}
	for _, h := range r.Held {
		fmt.Printf("  kept for now: %s\n", ui.Clean(h))
	}
	return err
}

// foretell says what a prune would do. It takes no lock.
func (p *place) foretell(ctx context.Context, domain, keep string) error {
	l, err := store.List(ctx, p.store, domain)
	if err != nil {
		return target.NoReplica(p.store, domain, err)
	}
	doomed, err := target.Doomed(p.store, l.Manifest, keep)
	if err != nil {
		return err
	}
	goes := map[int64]bool{}
	for _, g := range doomed {
		goes[g] = true
	}
	r := removedStates{Domain: domain, Gone: []string{}, DryRun: true}
	for _, s := range l.States {
		switch {
		case !goes[s.Generation]:
			r.Kept = append(r.Kept, s.ID)
		case len(s.Pinned) > 0:
			r.Held = append(r.Held, store.Held{s.Generation: s.Pinned}.Err().Error())
		default:
			r.Gone = append(r.Gone, s.ID)
		}
	}
	if p.json {
		return printJSON(r)
	}
	fmt.Printf("%s: %d of %d states would be deleted\n", ui.Clean(domain), len(r.Gone), len(l.States))
	for _, id := range r.Gone {
		fmt.Printf("  would go: %s\n", id)
	}
	for _, h := range r.Held {
		fmt.Printf("  would stay for now: %s\n", ui.Clean(h))
	}
	return nil
}
