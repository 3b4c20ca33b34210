package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vmsync/internal/api"
	"vmsync/internal/event"
	"vmsync/internal/hosturi"
	"vmsync/internal/runid"
	"vmsync/internal/transport"
	"vmsync/internal/ui"
	"vmsync/internal/units"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// defaultStore is where a target keeps replicas.
const defaultStore = "/var/lib/vmsync"

// syncFlags are the sync command's flags.
type syncFlags struct {
	sourceURI, targetURI string
	sourceDomain         string
	instance             string
	rate, transport      string
	minChanged           string
	estimate             bool
	req                  replicator.Request
	access               remote.Access
	output               outputFlags
}

func syncCommand() *cobra.Command {
	f := &syncFlags{}
	cmd := &cobra.Command{
		Use:   "sync DOMAIN",
		Short: "Replicate a running domain once: in full the first time, then what changed",
		Long: `Replicate a running domain once: in full the first time, then what changed.

Each end is a libvirt URI: qemu:///system is this host, qemu+ssh://[user@]host/system
another one. Either end may be this host, or neither. vmsync must be installed on both. vmsync+tls://host/system is a
source that lets this host in by its certificate, without SSH: see vmsync listen --help.

A machine that the running service of this host replicates is synced by the service, as its configuration says, unless
--source-uri, --target-uri or --store is given. SOURCE/DOMAIN says which one where several sources have it.`,
		Example: `  vmsync sync vm1 --source-uri qemu+ssh://root@hosta/system
  vmsync sync vm1 --source-uri vmsync+tls://hosta/system
  vmsync sync vm1 --target-uri qemu+ssh://root@hostb/system --target-domain vm1-replica`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(args); err != nil {
				return usageError{err}
			}
			if client := served(cmd, f.req.Domain, "source-uri", "target-uri", "store"); client != nil {
				return f.ask(cmd, client)
			}
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.sourceDomain, "source-domain", "", "the domain, instead of DOMAIN")
	flags.StringVar(&f.instance, "instance", "", "the domain, instead of DOMAIN, as the instance of a systemd unit has it")
	flags.StringVar(&f.sourceURI, "source-uri", "qemu:///system", "libvirt URI of the host that runs the domain")
	flags.StringVar(&f.targetURI, "target-uri", "qemu:///system", "libvirt URI of the host that keeps the replica")
	flags.StringVar(&f.req.TargetDomain, "target-domain", "", "name of the replica (default: the domain's name)")
	flags.StringVar(&f.req.Store, "store", defaultStore, "folder on the target that holds replicas")
	flags.StringArrayVar(&f.req.Options.Disks, "disk", nil, "replicate only this disk, by target device (repeatable)")
	flags.StringArrayVar(&f.req.Options.Exclude, "exclude-disk", nil, "leave this disk out (repeatable)")
	flags.BoolVar(&f.req.Options.Full, "full", false, "send whole disks even where an incremental is possible")
	flags.BoolVar(&f.req.Options.Resync, "resync", false, "compare whole disks block by block and send what differs")
	addKeepFlag(flags, &f.req.Keep)
	addCompressFlag(flags, &f.req.Compress)
	addRateFlag(flags, &f.rate)
	flags.StringVar(&f.minChanged, "min-changed", "", "do nothing if less than so much has changed since the newest state, e.g. 64M")
	flags.BoolVar(&f.estimate, "estimate", false, "only tell what would have to be sent now")
	flags.StringVar(&f.transport, "transport", "auto", "auto, direct (TLS from host to host) or ssh (through this host)")
	addAccessFlags(flags, &f.access)
	f.output.add(flags)
	return cmd
}

// complete checks the command line and fills in what follows from it.
func (f *syncFlags) complete(args []string) error {
	if f.instance != "" {
		args = append(args, instanceName(f.instance))
	}
	switch {
	case len(args) > 1:
		return errors.New("--instance is instead of DOMAIN")
	case len(args) == 1 && f.sourceDomain != "" && f.sourceDomain != args[0]:
		return fmt.Errorf("two domains given: %s and %s", args[0], f.sourceDomain)
	case len(args) == 1:
		f.req.Domain = args[0]
	default:
		f.req.Domain = f.sourceDomain
	}
	if f.req.Domain == "" {
		return errors.New("which domain? Usage: vmsync sync DOMAIN --source-uri URI --target-uri URI")
	}
	if err := checkCompress(f.req.Compress); err != nil {
		return err
	}
	if f.req.Options.Full && f.req.Options.Resync {
		return errors.New("--full and --resync exclude each other")
	}
	if err := checkKeep(f.req.Keep); err != nil {
		return err
	}
	var err error
	if f.req.Rate, err = parseRate(f.rate); err != nil {
		return err
	}
	if f.req.Transport, err = transport.Parse(f.transport); err != nil {
		return fmt.Errorf("--transport: %w", err)
	}
	if f.minChanged != "" {
		if f.req.MinChanged, err = units.ParseSize(f.minChanged); err != nil {
			return fmt.Errorf("--min-changed: %w", err)
		}
	}
	if !filepath.IsAbs(f.req.Store) {
		return fmt.Errorf("--store %q must be an absolute path on the target", f.req.Store)
	}
	return f.output.check()
}

func (f *syncFlags) run(ctx context.Context) (err error) {
	sourceAt, err := hosturi.Parse(f.sourceURI)
	if err != nil {
		return usageError{fmt.Errorf("--source-uri: %w", err)}
	}
	targetAt, err := hosturi.Parse(f.targetURI)
	if err != nil {
		return usageError{fmt.Errorf("--target-uri: %w", err)}
	}
	f.req.SourceHost, f.req.TargetHost = sourceAt.Name, targetAt.Name
	out, log := f.output.open(os.Stdout)
	if f.estimate {
		return f.tellEstimate(ctx, sourceAt, targetAt, out, log)
	}
	f.req.Run = runid.New()
	f.output.tellRun(out, event.Run{ID: f.req.Run, Domain: f.req.Domain, Source: sourceAt.Name})
	synced, err := f.replicate(ctx, sourceAt, targetAt, out, log)
	if synced.Summary != nil {
		out.Emit(*synced.Summary)
	}
	if synced.Skipped != nil {
		out.Emit(*synced.Skipped)
	}
	if err != nil {
		out.Emit(runError(err, f.req.Domain, f.req.Run))
		err = shownError{err}
	}
	return errors.Join(err, out.Close())
}

// ask has the service sync the machine.
func (f *syncFlags) ask(cmd *cobra.Command, client *api.Client) error {
	if err := notForTheService(cmd, f.req.Domain, "source-domain", "full", "resync", "min-changed", "json", "progress", "verbose"); err != nil {
		return err
	}
	out, _ := f.output.open(os.Stdout)
	return askForSync(cmd.Context(), client, f.req.Domain, api.SyncRequest{Full: f.req.Options.Full, Resync: f.req.Options.Resync, MinChanged: f.req.MinChanged}, out)
}

// tellEstimate tells what a sync would send.
func (f *syncFlags) tellEstimate(ctx context.Context, sourceAt, targetAt hosturi.Endpoint, out ui.Output, log io.Writer) (err error) {
	estimate := func() (_ *event.Estimate, err error) {
		pair, err := remote.ConnectPair(ctx, sourceAt, targetAt, f.access, log)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, pair.Close()) }()
		return replicator.EstimateSync(ctx, f.req, pair.Source, pair.Target)
	}
	e, err := estimate()
	if err != nil {
		out.Emit(errorEvent(err, f.req.Domain))
		return errors.Join(shownError{err}, out.Close())
	}
	out.Emit(*e)
	return out.Close()
}

// replicate connects both ends and runs the replication between them.
func (f *syncFlags) replicate(ctx context.Context, sourceAt, targetAt hosturi.Endpoint, out event.Sink, log io.Writer) (_ replicator.Synced, err error) {
	var pair *remote.Pair
	if err := replicator.Phase(out, event.PhaseConnect, func() (err error) {
		pair, err = remote.ConnectPair(ctx, sourceAt, targetAt, f.access, log)
		return err
	}); err != nil {
		return replicator.Synced{}, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	return replicator.Sync(ctx, f.req, pair.Source, pair.Target, pair.Relay, out)
}
