package main

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheSameCommandRunsElsewhere(t *testing.T) {
	for _, c := range []struct {
		args, want []string
	}{
		{[]string{"prune", "vm1", "--target-uri", "qemu+ssh://hostb/system", "--ssh-user", "root", "--ssh-key=/k", "--ssh-config", "/c"},
			[]string{"prune", "--", "vm1"}},
		{[]string{"prune", "--keep", "last=2,daily=7", "vm1", "--dry-run", "--json", "--store", "/a b"},
			[]string{"prune", "--dry-run=true", "--json=true", "--keep=last=2,daily=7", "--store=/a b", "--", "vm1"}},
		{[]string{"states", "delete", "vm1@a", "--", "-x@b"}, []string{"states", "delete", "--", "vm1@a", "-x@b"}},
		{[]string{"states"}, []string{"states", "--"}},
	} {
		var got []string
		root := &cobra.Command{Use: "vmsync"}
		root.AddCommand(pruneCommand(), statesCommand())
		var hook func(*cobra.Command)
		hook = func(cmd *cobra.Command) {
			cmd.RunE = func(cmd *cobra.Command, args []string) error { got = sameCommand(cmd, args); return nil }
			for _, sub := range cmd.Commands() {
				hook(sub)
			}
		}
		hook(root)
		root.SetArgs(c.args)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got[1:slices.Index(got, "--")]) // flags in any order
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestStatesAreSortedByReplica(t *testing.T) {
	domains, states, err := byDomain([]string{"vm1@a", "v@m@b", "vm1@c", "vm1@a"})
	if err != nil || !slices.Equal(domains, []string{"vm1", "v@m"}) || !slices.Equal(states["vm1"], []string{"a", "c"}) || !slices.Equal(states["v@m"], []string{"b"}) {
		t.Errorf("%q, %q, %v", domains, states, err)
	}
	for _, bad := range []string{"vm1", "vm1@", "@a", "a/b@c"} {
		if _, _, err := byDomain([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
