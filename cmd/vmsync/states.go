package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/store"
	"vmsync/internal/ui"
	"vmsync/replicator/target"
)

func statesCommand() *cobra.Command {
	p := &place{}
	cmd := &cobra.Command{
		Use:   "states [DOMAIN]",
		Short: "List the states of a replica, or the replicas of a store",
		Long: `List the states of a replica, newest last; without DOMAIN, the replicas of the store.

"own" is what the images take on disk that the state needs and no older one does. All of them together are what the
replica takes. It is not what deleting the state would free: newer states may need the same images.

States that were taken together with those of other machines, as a consistency group, say of which set they are, and
which machines of the group hold no state of it.

It changes nothing and waits for no run.`,
		Example: `  vmsync states
  vmsync states vm1 --target-uri qemu+ssh://root@hostb/system`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return p.at(cmd, args, "", func(ui.Output) error { return p.listReplicas(cmd.Context()) })
			}
			return p.at(cmd, args, args[0], func(ui.Output) error { return p.listStates(cmd.Context(), args[0]) })
		},
	}
	p.add(cmd.Flags())
	cmd.AddCommand(deleteCommand())
	return cmd
}

// listedReplica is a replica as JSON.
type listedReplica struct {
	Domain    string     `json:"domain"`
	Role      store.Role `json:"role"`
	Source    string     `json:"source_host,omitempty"`
	States    int        `json:"states"`
	Newest    *time.Time `json:"newest,omitempty"`
	Keep      string     `json:"keep"`
	Allocated int64      `json:"allocated_bytes"`
	Error     string     `json:"error,omitempty"`
}

func (p *place) listReplicas(ctx context.Context) error {
	names, err := store.Replicas(p.store)
	if err != nil {
		return target.NoReplica(p.store, "", err)
	}
	var rows [][]string
	for _, name := range names {
		r := listedReplica{Domain: name}
		l, err := store.List(ctx, p.store, name)
		if err != nil {
			r.Error = err.Error() // of one; the others are listed all the same
			rows = append(rows, []string{name, "?", "", "", "", "", "", r.Error})
		} else {
			r.fill(l)
			rows = append(rows, []string{name, string(r.Role), r.Source, fmt.Sprint(r.States), ui.Instant(l.Newest()), r.Keep, ui.Bytes(r.Allocated), ""})
		}
		if p.json {
			if err := printJSON(r); err != nil {
				return err
			}
		}
	}
	switch {
	case p.json:
		return nil
	case len(rows) == 0:
		fmt.Printf("%s holds no replicas\n", p.store)
		return nil
	}
	return ui.Table(os.Stdout, []ui.Column{{Title: "replica"}, {Title: "role"}, {Title: "from"}, {Title: "states", Right: true}, {Title: "newest"},
		{Title: "keep"}, {Title: "on disk", Right: true}, {}}, rows)
}

func (r *listedReplica) fill(l *store.Listing) {
	m := l.Manifest
	r.Role, r.Source, r.States, r.Allocated = m.Role, m.Source.Host, len(m.States), l.Allocated
	if r.Keep = m.Keep; r.Keep == "" {
		r.Keep = "0"
	}
	if at := l.Newest(); !at.IsZero() {
		r.Newest = &at
	}
}

// listedState is a state as JSON.
type listedState struct {
	Domain      string         `json:"domain"`
	State       string         `json:"state"`
	Checkpoint  string         `json:"checkpoint"`
	Time        time.Time      `json:"time"`
	Kind        string         `json:"kind"`
	Consistency string         `json:"consistency"`
	Own         int64          `json:"own_bytes"`
	Size        int64          `json:"size_bytes"`
	Head        bool           `json:"head"`
	Verified    *time.Time     `json:"verified,omitempty"`
	Damaged     string         `json:"damaged,omitempty"`
	Pinned      []store.Holder `json:"pinned,omitempty"`
	Group       *listedGroup   `json:"group,omitempty"`
}

// listedGroup is the set of a state as JSON.
type listedGroup struct {
	*store.Group
	Complete bool     `json:"complete"`
	Missing  []string `json:"missing,omitempty"` // members without a state of the set
}

// setOf looks what there is of the set that a state belongs to; nil for none.
func (p *place) setOf(s *store.State) *listedGroup {
	if s.Group == nil {
		return nil
	}
	missing := store.Missing(p.store, s.Group)
	return &listedGroup{Group: s.Group, Complete: len(missing) == 0, Missing: missing}
}

// remark says with whom a state was taken together, and what is wrong with that.
func (g *listedGroup) remark() string {
	text := "set " + g.ID + " of group " + g.Name
	if !g.Complete {
		text += " without " + strings.Join(g.Missing, ", ")
	}
	if !g.OneInstant {
		text += ", not of one instant"
	}
	return text
}

func (p *place) listStates(ctx context.Context, domain string) error {
	l, err := store.List(ctx, p.store, domain)
	if err != nil {
		return target.NoReplica(p.store, domain, err)
	}
	if !p.json {
		return p.tableOfStates(l)
	}
	for _, s := range l.States {
		if err := printJSON(listedState{Domain: domain, State: s.ID, Checkpoint: s.Checkpoint, Time: s.Time, Kind: s.Kind, Consistency: s.Consistency,
			Own: s.Own, Size: s.Size, Head: s.Head, Verified: s.Verified, Damaged: s.Damaged, Pinned: s.Pinned, Group: p.setOf(s.State)}); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) tableOfStates(l *store.Listing) error {
	if len(l.States) == 0 {
		fmt.Printf("%s holds no state yet\n", ui.Clean(l.Manifest.TargetDomain))
		return nil
	}
	var rows [][]string
	for _, s := range l.States {
		verified := "-"
		if s.Verified != nil {
			verified = ui.Instant(*s.Verified)
		}
		rows = append(rows, []string{s.ID, s.Checkpoint, s.Kind, s.Consistency, ui.Bytes(s.Own), ui.Bytes(s.Size), verified, strings.Join(p.remarks(s), "; ")})
	}
	return ui.Table(os.Stdout, []ui.Column{{Title: "state"}, {Title: "checkpoint"}, {Title: "kind"}, {Title: "consistency"}, {Title: "own", Right: true},
		{Title: "size", Right: true}, {Title: "verified"}, {}}, rows)
}

// remarks are what else there is to say of a state.
func (p *place) remarks(s store.Listed) []string {
	var all []string
	if g := p.setOf(s.State); g != nil {
		all = append(all, g.remark())
	}
	if s.Damaged != "" {
		all = append(all, "damaged: "+s.Damaged)
	}
	for _, h := range s.Pinned {
		all = append(all, "in use by "+h.String())
	}
	return all
}

func deleteCommand() *cobra.Command {
	p := &place{}
	cmd := &cobra.Command{
		Use:   "delete DOMAIN@STATE [DOMAIN@STATE…]",
		Short: "Delete states of a replica",
		Long: `Delete states of a replica and give their space back. All other states stay as they are, byte for byte.

STATE is a state's name as in vmsync states, that of its checkpoint, or the beginning of either. Of one replica all the
states go, or, if one of them cannot, none: not the newest one, on which the next sync builds and which the replica
boots, and none that a mount or an export uses. It does not ask back.`,
		Example: `  vmsync states delete vm1@2026-11-21T070301Z`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, states, err := byDomain(args)
			if err != nil {
				return usageError{err}
			}
			return p.at(cmd, args, domains[0], func(out ui.Output) error {
				for _, domain := range domains {
					if err := p.administer(cmd.Context(), domain, func(a *target.Admin) error {
						r, err := a.Delete(cmd.Context(), states[domain])
						return p.tellRemoved(out, domain, r, err)
					}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	p.add(cmd.Flags())
	return cmd
}

// byDomain sorts addresses by their domains. A state must be named: nobody deletes the
// newest one by leaving its name out.
func byDomain(addresses []string) (domains []string, states map[string][]string, err error) {
	states = map[string][]string{}
	for _, a := range addresses {
		domain, state, err := store.ParseAddress(a)
		switch {
		case err != nil:
			return nil, nil, err
		case !strings.Contains(a, "@"):
			return nil, nil, fmt.Errorf("%s: which state? Say %s@STATE; see: vmsync states %s", a, a, a)
		}
		if states[domain] == nil {
			domains = append(domains, domain)
		}
		if !slices.Contains(states[domain], state) {
			states[domain] = append(states[domain], state)
		}
	}
	return domains, states, nil
}
