package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/internal/event"
	"vmsync/internal/hosturi"
	"vmsync/internal/store"
	"vmsync/internal/ui"
	"vmsync/replicator"
	"vmsync/replicator/remote"
	"vmsync/replicator/scrub"
	"vmsync/replicator/target"
)

// verifyFlags are the verify command's flags.
type verifyFlags struct {
	req           scrub.Request
	againstSource bool
	sourceURI     string
	access        remote.Access
	output        outputFlags
}

func verifyCommand() *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify DOMAIN[@STATE]",
		Short: "Read back what a replica on this host holds and compare it with what was received",
		Long: `Read back what a replica on this host holds and compare it with what was received: every image that the state needs,
once, with qemu's check of its structure and a hash of each of its blocks, and the files beside the images. Without
@STATE it is the newest state.

A sync may go on meanwhile. What is damaged is marked: it is no longer booted, restored or built on, and
the next sync sends a full copy if it is the newest state. A mark goes when the state is verified again and right.

With --against-source the newest state is compared with what the running domain held when the state was made:
both hosts hash what they hold, and the hashes are compared. What the domain has written since is left out.`,
		Example: `  vmsync verify vm1 --all
  vmsync verify vm1 --against-source --source-uri qemu+ssh://root@hosta/system
  vmsync verify vm1@2026-11-21T070301Z`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(args[0]); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.req.All, "all", false, "verify every state")
	flags.BoolVar(&f.againstSource, "against-source", false, "compare the newest state with its source")
	flags.StringVar(&f.sourceURI, "source-uri", "qemu:///system", "libvirt URI of the host that runs the domain")
	addAccessFlags(flags, &f.access)
	flags.StringVar(&f.req.Store, "store", defaultStore, "folder on this host that holds replicas")
	f.output.add(flags)
	return cmd
}

// complete checks the command line and fills in what follows from it.
func (f *verifyFlags) complete(address string) (err error) {
	if f.req.Domain, f.req.State, err = store.ParseAddress(address); err != nil {
		return err
	}
	if f.req.All && strings.Contains(address, "@") {
		return errors.New("--all and a state exclude each other")
	}
	if f.againstSource && (f.req.All || strings.Contains(address, "@")) {
		return errors.New("--against-source is about the newest state only: the source knows nothing of older ones")
	}
	if err := checkStore(f.req.Store); err != nil {
		return err
	}
	f.req.Repoint = func(ctx context.Context) error { return target.Repoint(ctx, f.req.Store, f.req.Domain) }
	return f.output.check()
}

func (f *verifyFlags) run(ctx context.Context) error {
	if !f.againstSource {
		out, _ := f.output.open(os.Stdout)
		return finish(out, f.req.Domain, scrub.Verify(ctx, f.req, out))
	}
	at, err := hosturi.Parse(f.sourceURI)
	if err != nil {
		return usageError{fmt.Errorf("--source-uri: %w", err)}
	}
	out, log := f.output.open(os.Stdout)
	return finish(out, f.req.Domain, f.compare(ctx, at, out, log))
}

// compare connects to the source and compares.
func (f *verifyFlags) compare(ctx context.Context, at hosturi.Endpoint, out event.Sink, log io.Writer) (err error) {
	var source *remote.Solo
	if err := replicator.Phase(out, event.PhaseConnect, func() (err error) {
		source, err = remote.ConnectSolo(ctx, at, remote.RoleSource, f.access, log)
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	return scrub.AgainstSource(ctx, f.req, source.Source(), out)
}

// finish ends a command's output with the error that it ended with, if any.
func finish(out ui.Output, domain string, err error) error {
	if err != nil {
		out.Emit(errorEvent(err, domain))
		err = shownError{err}
	}
	return errors.Join(err, out.Close())
}

// checkStore checks the value of a --store flag.
func checkStore(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("--store %q must be an absolute path", path)
	}
	return nil
}
