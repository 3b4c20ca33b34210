package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vmsync/internal/hosturi"
	"vmsync/internal/ssh"
	"vmsync/internal/ui"
	"vmsync/replicator/remote"
	"vmsync/replicator/target"
)

// place is the store that a command works on, and how it tells what it did. What is on
// another host the same command does there.
type place struct {
	targetURI string
	store     string
	ssh       ssh.Options
	json      bool
}

// notThere are the flags that say where; they are not for the command there.
var notThere = []string{"target-uri", "ssh-user", "ssh-key", "ssh-config"}

func (p *place) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&p.store, "store", defaultStore, "folder on the target that holds replicas")
	flags.StringVar(&p.targetURI, "target-uri", "qemu:///system", "libvirt URI of the host that keeps the replica")
	addSSHFlags(flags, &p.ssh)
	flags.BoolVar(&p.json, "json", false, "one JSON object per line")
}

// at runs what a command does on this host, or the command on the store's.
func (p *place) at(cmd *cobra.Command, args []string, domain string, do func(out ui.Output) error) error {
	if !filepath.IsAbs(p.store) {
		return usageError{fmt.Errorf("--store %q must be an absolute path on the target", p.store)}
	}
	p.store = filepath.Clean(p.store)
	at, err := hosturi.Parse(p.targetURI)
	if err != nil {
		return usageError{fmt.Errorf("--target-uri: %w", err)}
	}
	out := ui.New(ui.Options{JSON: p.json, Progress: ui.ProgressNone, Out: os.Stdout, Err: os.Stderr})
	if at.Local {
		err = do(out)
	} else {
		err = p.there(cmd, args, at)
	}
	if status, ok := errors.AsType[*ssh.ExitError](err); ok && status.Signal == "" {
		err = shownError{exitStatus(status.Status)} // the program there has said why
	} else if err != nil {
		out.Emit(errorEvent(err, domain))
		err = shownError{err}
	}
	return errors.Join(err, out.Close())
}

// there runs the same command on another host.
func (p *place) there(cmd *cobra.Command, args []string, at hosturi.Endpoint) (err error) {
	host, err := remote.Reach(cmd.Context(), at, remote.Access{SSH: p.ssh}, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	return host.Run(cmd.Context(), sameCommand(cmd, args), nil, os.Stdout, os.Stderr)
}

// sameCommand is the command line of a command without the program's name and without
// the flags that say where.
func sameCommand(cmd *cobra.Command, args []string) []string {
	argv := strings.Fields(cmd.CommandPath())[1:]
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if slices.Contains(notThere, f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			argv = append(argv, "--"+f.Name+"="+v)
		}
	})
	return append(append(argv, "--"), args...)
}

// administer opens a replica for a command.
func (p *place) administer(ctx context.Context, domain string, do func(*target.Admin) error) (err error) {
	a, err := target.Administer(ctx, p.store, domain)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return do(a)
}

// exitStatus is the status with which a program on another host ended.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// printJSON writes one object on a line.
func printJSON(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
