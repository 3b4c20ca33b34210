package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vmsync/internal/config"
	"vmsync/internal/store"
	"vmsync/internal/ui"
)

// completionTime is how long a person who presses the tab key waits for the service.
const completionTime = time.Second

// addCompletions has shells complete what this host knows: machines of the service,
// replicas, states and sources. What cannot be found out is not offered, without a word.
func addCompletions(root *cobra.Command) {
	for name, complete := range map[string]cobra.CompletionFunc{
		"sync":   only(1, machines),
		"status": only(1, machines),
		"pause":  only(1, both),
		"resume": only(1, both),

		"states":        only(1, replicas),
		"states delete": many(states),
		"prune":         only(1, replicas),
		"discard-run":   only(1, replicas),
		"verify":        only(1, states),
		"restore":       only(1, states),
		"export":        only(1, states),
		"doctor":        only(1, both),
		"send":          cobra.NoFileCompletions,
		"receive":       cobra.NoFileCompletions,
		"serve":         cobra.NoFileCompletions,
	} {
		command(root, name).ValidArgsFunction = complete
	}
	each(root, func(cmd *cobra.Command) {
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if complete := flagCompletion(f.Name); complete != nil {
				// It fails only for a flag that is not there, or is registered twice.
				_ = cmd.RegisterFlagCompletionFunc(f.Name, complete)
			}
		})
	})
}

// flagCompletion is how the value of a flag is completed; nil as a file, which is what
// shells do by themselves.
func flagCompletion(name string) cobra.CompletionFunc {
	switch name {
	case "source-uri":
		return sourceURIs
	case "target-uri":
		return offer("qemu:///system", "qemu+ssh://")
	case "compress":
		return offer("auto", "none", "s2", "zstd", "zstd:")
	case "transport":
		return offer("auto", "direct", "ssh")
	case "progress":
		return offer("auto", "plain", "none")
	case "source-domain", "target-domain", "instance", "rate", "keep", "min-changed", "reason", "ssh-user", "disk", "exclude-disk":
		return cobra.NoFileCompletions
	case "store":
		return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	}
	return nil
}

// offer completes one of the values that there are, or that begin so.
func offer(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)
}

// names finds names that an argument may have.
type names func(cmd *cobra.Command, toComplete string) []string

// only completes the first n arguments, many all.
func only(n int, find names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return many(find)(cmd, args, toComplete)
	}
}

func many(find names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		odd := func(name string) bool { return ui.Clean(name) != name || slices.Contains(args, name) }
		return slices.DeleteFunc(find(cmd, toComplete), odd), cobra.ShellCompDirectiveNoFileComp
	}
}

// machines are those of the service.
func machines(cmd *cobra.Command, _ string) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	st, err := theService().Status(ctx)
	if err != nil {
		return nil
	}
	var all []string
	for _, m := range st.Machines {
		all = append(all, m.Name)
	}
	return all
}

// replicas are those of the store.
func replicas(cmd *cobra.Command, _ string) []string {
	dir := defaultStore
	if f := cmd.Flags().Lookup("store"); f != nil {
		dir = f.Value.String()
	}
	all, err := store.Replicas(dir)
	if err != nil {
		return nil
	}
	return all
}

func both(cmd *cobra.Command, toComplete string) []string {
	all := append(machines(cmd, toComplete), replicas(cmd, toComplete)...)
	slices.Sort(all)
	return slices.Compact(all)
}

// states are replicas, and once there is an @ the states of one.
func states(cmd *cobra.Command, toComplete string) []string {
	at := strings.LastIndexByte(toComplete, '@')
	if at < 0 {
		return replicas(cmd, toComplete)
	}
	domain := toComplete[:at]
	m, err := store.Read(cmd.Flags().Lookup("store").Value.String(), domain)
	if err != nil {
		return nil
	}
	var all []string
	for _, s := range m.States {
		all = append(all, domain+"@"+s.ID)
	}
	return all
}

// sourceURIs are this host and the sources of the service.
func sourceURIs(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all := []string{"qemu:///system", "qemu+ssh://"}
	if c, err := config.Load(config.DefaultPath); err == nil {
		for _, s := range c.Sources {
			all = append(all, s.URI)
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// command finds a command of the tree, which must be there.
func command(root *cobra.Command, name string) *cobra.Command {
	var found *cobra.Command
	each(root, func(cmd *cobra.Command) {
		if cmd.CommandPath() == root.Name()+" "+name {
			found = cmd
		}
	})
	return found
}

// each calls f for all commands of a tree.
func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		each(c, f)
	}
}
