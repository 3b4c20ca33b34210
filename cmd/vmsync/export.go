package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vmsync/internal/store"
	"vmsync/replicator/export"
)

// exportFlags are the export command's flags.
type exportFlags struct {
	req    export.Request
	output outputFlags
}

func exportCommand() *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export DOMAIN[@STATE] {--unix PATH | --listen ADDRESS [--tls-certificates DIR]}",
		Short: "Serve a state's disks over NBD, read-only or to be written to and thrown away",
		Long: `Serve the disks of a state of a replica on this host to NBD clients, each under its target name, until SIGINT or
SIGTERM. Without @STATE it is the newest state. The first disk is the default export as well. The state cannot be
deleted meanwhile; syncs go on, and the replica may run.

With --writable clients write to an overlay that is thrown away at the end: the state stays as it is. With
--keep-overlay what the disk then reads as is kept, as a qcow2 image of its own.`,
		Example: `  vmsync export vm1 --unix /run/vm1.sock
  vmsync export vm1@2026-11-21T070301Z --disk vda --listen 127.0.0.1:10809
  vmsync export vm1 --disk vda --unix /run/vm1.sock --writable --keep-overlay /srv/repaired.qcow2
  vmsync export vm1 --listen 10.77.0.12:10809 --tls-certificates /etc/nbd-pki --tls-client hosta`,
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
	flags.StringVar(&f.req.Unix, "unix", "", "unix socket to listen on")
	flags.StringVar(&f.req.TCP, "listen", "", "TCP address to listen on, HOST:PORT; without TLS 127.0.0.1 or [::1] only")
	flags.StringVar(&f.req.TLS, "tls-certificates", "", "folder with ca-cert.pem, server-cert.pem and server-key.pem, for TLS on --listen")
	flags.StringArrayVar(&f.req.Clients, "tls-client", nil, "TLS client to let in, as in its certificate (repeatable; default: all of the authority)")
	flags.StringArrayVar(&f.req.Disks, "disk", nil, "export only this disk, by target device (repeatable)")
	flags.BoolVar(&f.req.Writable, "writable", false, "let clients write, to an overlay that is thrown away at the end")
	flags.StringVar(&f.req.Keep, "keep-overlay", "", "keep what the disk reads as in the end as this qcow2 image; several disks in this folder, with a slash at its end")
	flags.StringVar(&f.req.Store, "store", defaultStore, "folder on this host that holds replicas")
	f.output.add(flags)
	return cmd
}

// complete checks the command line and fills in what follows from it.
func (f *exportFlags) complete(address string) (err error) {
	r := &f.req
	if r.Domain, r.State, err = store.ParseAddress(address); err != nil {
		return err
	}
	switch {
	case (r.Unix == "") == (r.TCP == ""):
		return fmt.Errorf("where? Usage: vmsync export %s --unix PATH, or --listen HOST:PORT", address)
	case r.TCP == "" && r.TLS != "":
		return errors.New("--tls-certificates goes with --listen")
	case r.TLS == "" && len(r.Clients) > 0:
		return errors.New("--tls-client goes with --tls-certificates: clients are known by theirs")
	case r.Keep != "" && !r.Writable:
		return errors.New("--keep-overlay goes with --writable")
	}
	if err := checkStore(r.Store); err != nil {
		return err
	}
	for _, path := range []*string{&r.Unix, &r.TLS, &r.Keep} {
		if *path == "" {
			continue
		}
		slash := strings.HasSuffix(*path, "/")
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
		if slash && path == &r.Keep {
			*path += "/" // it says that a folder is meant
		}
	}
	return f.output.check()
}

func (f *exportFlags) run(ctx context.Context) error {
	out, log := f.output.open(os.Stdout)
	f.req.Log = log
	// What ended the export does not end the keeping as well; once more does.
	f.req.Keeping = func() (context.Context, context.CancelFunc) {
		return signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	}
	return finish(out, f.req.Domain, export.Serve(ctx, f.req, out))
}
