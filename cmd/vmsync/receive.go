package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vmsync/internal/event"
	"vmsync/internal/hosturi"
	"vmsync/internal/runid"
	"vmsync/internal/ssh"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// receiveFlags are the receive command's flags.
type receiveFlags struct {
	targetURI string
	req       replicator.ReceiveRequest
	ssh       ssh.Options
	output    outputFlags
}

func receiveCommand() *cobra.Command {
	f := &receiveFlags{}
	cmd := &cobra.Command{
		Use:   "receive [flags] < FILE",
		Short: "Make a stream of vmsync send a state of a replica",
		Long: `Make a stream of vmsync send, from stdin, a state of the replica that it belongs to, with the same guarantees as a
sync: it is listed only when it was complete, verified and durable. A full stream begins a replica; the others must
come in the order they were sent. A sync from the source goes on where the last stream ended.

A stream brings the machine's definition along: receive it only from whom you would take a machine.`,
		Example: `  vmsync receive < /mnt/usb/vm1.stream
  vmsync send vm1 --since vmsync-1f2e3d4c-1 | ssh root@hostb vmsync receive`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.output.check(); err != nil {
				return usageError{err}
			}
			if !filepath.IsAbs(f.req.Store) {
				return usageError{fmt.Errorf("--store %q must be an absolute path on the target", f.req.Store)}
			}
			if err := checkKeep(f.req.Keep); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.req.Store, "store", defaultStore, "folder on the target that holds replicas")
	flags.StringVar(&f.req.TargetDomain, "target-domain", "", "name of the replica (default: the domain's name)")
	flags.StringVar(&f.targetURI, "target-uri", "qemu:///system", "libvirt URI of the host that keeps the replica")
	addKeepFlag(flags, &f.req.Keep)
	addSSHFlags(flags, &f.ssh)
	f.output.add(flags)
	return cmd
}

func (f *receiveFlags) run(ctx context.Context) error {
	at, err := hosturi.Parse(f.targetURI)
	if err != nil {
		return usageError{fmt.Errorf("--target-uri: %w", err)}
	}
	from, err := remote.NewInlet(os.Stdin)
	if err != nil {
		return err
	}
	out, log := f.output.open(os.Stdout)
	f.req.Run = runid.New()
	summary, err := f.receive(ctx, at, from, out, log)
	if summary != nil {
		out.Emit(*summary)
	}
	if err != nil {
		out.Emit(runError(err, f.req.TargetDomain, f.req.Run))
		err = shownError{err}
	}
	return errors.Join(err, out.Close())
}

// receive reads the stream's header, connects to the target and brings it the stream.
func (f *receiveFlags) receive(ctx context.Context, at hosturi.Endpoint, from *remote.Inlet, out event.Sink, log io.Writer) (_ *event.Summary, err error) {
	header, err := from.Header(ctx)
	if err != nil {
		return nil, err
	}
	in, err := replicator.NewIncoming(header)
	if err != nil {
		return nil, err
	}
	f.output.tellRun(out, event.Run{ID: f.req.Run, Domain: in.Domain, Source: in.State.Source.Host})
	var target *remote.Solo
	if err := replicator.Phase(out, event.PhaseConnect, func() (err error) {
		target, err = remote.ConnectSolo(ctx, at, remote.RoleTarget, remote.Access{SSH: f.ssh}, log)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	feed := func(ctx context.Context, socket string) error { return target.Feed(ctx, socket, from) }
	return replicator.Receive(ctx, f.req, in, target.Target(), feed, out)
}
