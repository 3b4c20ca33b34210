package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"vmsync/internal/store"
	"vmsync/internal/ui"
	"vmsync/replicator/target"
)

func pauseCommand() *cobra.Command {
	return roleCommand("pause", store.RolePaused, "paused: syncs refuse until it is resumed", &cobra.Command{
		Short: "Have the service, or all syncs, leave a replica alone",
		Long: `A machine that the service of this host replicates: have the service leave it alone until vmsync resume. A sync that is
under way goes on.

Any other, or with --store or --target-uri: have syncs leave a replica alone until vmsync resume: they refuse, and say why. The replica's states stay, and so
does the checkpoint on the source: what changes there meanwhile is brought by the first sync afterwards.`,
	})
}

func resumeCommand() *cobra.Command {
	return roleCommand("resume", store.RoleReplica, "follows its source again", &cobra.Command{
		Short: "Have a paused replica follow its source again",
		Long: `A machine that the service of this host replicates: have the service go on with it. Any other, or with --store or
--target-uri: have a paused replica follow its source again.`,
	})
}

// roleCommand completes a command that changes a replica's role; told says what became
// of it.
func roleCommand(name string, role store.Role, told string, cmd *cobra.Command) *cobra.Command {
	p := &place{}
	var reason string
	cmd.Use = name + " DOMAIN"
	cmd.Args = arguments(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if done, err := roleInService(cmd, p, args[0], reason, role == store.RolePaused); done {
			return err
		}
		if reason != "" {
			return usageError{errors.New("--reason is for machines of the service, and it has none of this name, or does not run")}
		}
		return p.at(cmd, args, args[0], func(ui.Output) error {
			return p.administer(cmd.Context(), args[0], func(a *target.Admin) error {
				changed, err := a.SetRole(cmd.Context(), role)
				if err != nil {
					return err
				}
				return p.tellRole(args[0], role, changed, told)
			})
		})
	}
	p.add(cmd.Flags())
	if role == store.RolePaused {
		cmd.Flags().StringVar(&reason, "reason", "", "why, for those who wonder (a machine of the service)")
	}
	return cmd
}

func (p *place) tellRole(domain string, role store.Role, changed bool, told string) error {
	if p.json {
		return printJSON(struct {
			Domain  string     `json:"domain"`
			Role    store.Role `json:"role"`
			Changed bool       `json:"changed"`
		}{domain, role, changed})
	}
	if !changed {
		fmt.Printf("%s: its role is %s already\n", ui.Clean(domain), role)
		return nil
	}
	fmt.Printf("%s: %s\n", ui.Clean(domain), told)
	return nil
}
