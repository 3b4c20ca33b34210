package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vmsync/internal/event"
	"vmsync/internal/hosturi"
	"vmsync/internal/runid"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// sendFlags are the send command's flags.
type sendFlags struct {
	sourceURI string
	rate      string
	req       replicator.SendRequest
	access    remote.Access
	output    outputFlags
}

func sendCommand() *cobra.Command {
	f := &sendFlags{}
	cmd := &cobra.Command{
		Use:   "send DOMAIN [flags] > FILE",
		Short: "Write a running domain's state, or what changed since an earlier one, to a file or pipe",
		Long: `Write a running domain's state to stdout as one stream, for vmsync receive: through any pipe, or in a file that
travels by other means. Everything but the stream goes to stderr.

The first stream of a replica is whole. Its checkpoint stays on the source; once the stream has been received, the
next one brings what changed since: name that checkpoint with --since, or the beginning of its name if that is
enough. With that, older checkpoints of the same replica are deleted. A stream holds the domain's definition with
its passwords: treat it like the machine's disks.`,
		Example: `  vmsync send vm1 > /mnt/usb/vm1.stream
  vmsync send vm1 --since vmsync-1f2e3d4c-1 | ssh root@hostb vmsync receive`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.req.Domain = args[0]
			var rateErr error
			f.req.Rate, rateErr = parseRate(f.rate)
			if err := errors.Join(checkCompress(f.req.Compress), rateErr, f.output.check()); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.req.Since, "since", "", "checkpoint whose state the receiver has")
	flags.StringVar(&f.sourceURI, "source-uri", "qemu:///system", "libvirt URI of the host that runs the domain")
	flags.StringArrayVar(&f.req.Options.Disks, "disk", nil, "send only this disk, by target device (repeatable)")
	flags.StringArrayVar(&f.req.Options.Exclude, "exclude-disk", nil, "leave this disk out (repeatable)")
	flags.BoolVar(&f.req.Options.Full, "full", false, "send whole disks, to a replica that has the state of --since or an older one")
	addCompressFlag(flags, &f.req.Compress)
	addRateFlag(flags, &f.rate)
	addAccessFlags(flags, &f.access)
	f.output.add(flags)
	return cmd
}

func (f *sendFlags) run(ctx context.Context) error {
	at, err := hosturi.Parse(f.sourceURI)
	if err != nil {
		return usageError{fmt.Errorf("--source-uri: %w", err)}
	}
	to, err := remote.NewOutlet(os.Stdout)
	if err != nil {
		return err
	}
	f.req.SourceHost = at.Name
	if name, err := os.Hostname(); err == nil && at.Local {
		f.req.SourceHost = name
	}
	survivePipes()
	out, log := f.output.open(os.Stderr)
	f.req.Run = runid.New()
	f.output.tellRun(out, event.Run{ID: f.req.Run, Domain: f.req.Domain, Source: f.req.SourceHost})
	summary, err := f.send(ctx, at, to, out, log)
	if summary != nil {
		out.Emit(*summary)
		out.Emit(event.Notice{Message: fmt.Sprintf("once it is received, the next one: vmsync send %s --since %s", f.req.Domain, summary.Checkpoint)})
	}
	if err != nil {
		out.Emit(runError(err, f.req.Domain, f.req.Run))
		err = shownError{err}
	}
	return errors.Join(err, out.Close())
}

// send connects to the source and sends the stream into the outlet.
func (f *sendFlags) send(ctx context.Context, at hosturi.Endpoint, to *remote.Outlet, out event.Sink, log io.Writer) (_ *event.Summary, err error) {
	var source *remote.Solo
	if err := replicator.Phase(out, event.PhaseConnect, func() (err error) {
		source, err = remote.ConnectSolo(ctx, at, remote.RoleSource, f.access, log)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	deliver := func(ctx context.Context, socket string) (int64, error) { return source.Deliver(ctx, socket, to) }
	return replicator.Send(ctx, f.req, source.Source(), deliver, out)
}
