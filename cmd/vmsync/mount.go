package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vmsync/fusefs"
	"vmsync/internal/daemon"
)

// mountFlags are the mount command's flags.
type mountFlags struct {
	options    fusefs.Options
	uid, gid   uint32
	mode       string
	cache      string
	mount      []string // values of -o
	sloppy     bool
	foreground bool
}

func mountCommand() *cobra.Command {
	f := &mountFlags{}
	cmd := &cobra.Command{
		Use:   "mount MOUNTPOINT [DOMAIN…]",
		Short: "Show states, their disks and the files in them as a tree, read-only",
		Long: `Mount the replicas of a store on this host, or some of them, as a read-only tree: each state's disks and
partitions as raw images, and the guests' own files. Nothing is booted, restored or given to the kernel to mount.

It goes on in the background once the tree is there, and logs to the system's log. vmsync umount MOUNTPOINT ends it.`,
		Example: `  vmsync mount /mnt/vmsync
  cp /mnt/vmsync/vm1/by-age/1d/files/vda1/etc/fstab .
  vmsync mount /mnt/vm1 vm1 --uid 1000 --gid 1000 --mode 755`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.complete(cmd, args[1:]); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.options.Store, "store", defaultStore, "folder on this host that holds replicas")
	flags.BoolVar(&f.options.AllowOther, "allow-other", false, "let other users look, too, as far as owners and modes allow")
	flags.BoolVar(&f.foreground, "foreground", false, "stay in the foreground and log to stderr")
	flags.StringVar(&f.cache, "cache", "", "keep at most so many bytes of images in memory (default 64MiB)")
	flags.Uint32Var(&f.uid, "uid", 0, "show everything as this user's")
	flags.Uint32Var(&f.gid, "gid", 0, "show everything as this group's")
	flags.StringVar(&f.mode, "mode", "", "show everything with these octal permissions; files that nobody may execute stay so")
	flags.StringArrayVar(&f.options.KeyFiles, "key-file", nil, "file with a key of encrypted volumes (repeatable)")
	flags.StringArrayVarP(&f.mount, "options", "o", nil, "options as in fstab: store=DIR,domain=NAME,allow_other,uid=N,gid=N,mode=M,cache=SIZE,key_file=FILE")
	flags.StringVar(&f.options.Source, "source", "", "what mount lists as mounted (default: the store)")
	flags.BoolVar(&f.sloppy, "sloppy", false, "ignore unknown options of -o")
	return cmd
}

// complete checks the command line and fills in what follows from it.
func (f *mountFlags) complete(cmd *cobra.Command, domains []string) (err error) {
	f.options.Domains = domains
	if cmd.Flags().Changed("uid") {
		f.options.Owners.UID = &f.uid
	}
	if cmd.Flags().Changed("gid") {
		f.options.Owners.GID = &f.gid
	}
	if f.mode != "" {
		mode, err := fusefs.ParseMode(f.mode)
		if err != nil {
			return fmt.Errorf("--mode: %w", err)
		}
		f.options.Owners.Mode = &mode
	}
	if f.cache != "" {
		if f.options.Cache, err = fusefs.ParseSize(f.cache); err != nil {
			return fmt.Errorf("--cache: %w", err)
		}
	}
	for _, o := range f.mount {
		if err := f.options.ParseMountOptions(o, f.sloppy); err != nil {
			return err
		}
	}
	return checkStore(f.options.Store)
}

func (f *mountFlags) run(ctx context.Context, mountpoint string) error {
	child := daemon.Started()
	if child == nil && !f.foreground {
		err := daemon.Start()
		if exit, ok := errors.AsType[*daemon.ExitError](err); ok {
			return shownError{exitStatus(exit.Status)}
		}
		return err
	}
	f.options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	m, err := fusefs.New(mountpoint, f.options)
	if err != nil {
		return err
	}
	if child != nil {
		m.LogTo(daemon.Log("vmsync"))
		err = child.Ready()
	}
	if err = errors.Join(err, daemon.Notify("READY=1")); err != nil {
		return errors.Join(err, m.Close(ctx))
	}
	select {
	case <-m.Done():
		return nil
	case <-ctx.Done():
		return endMount(m)
	}
}

// endWait is how long a tree that is in use is still there for those who have files of
// it open, after it was told to end.
const endWait = 20 * time.Second

// endMount unmounts. A second signal ends the waiting.
func endMount(m *fusefs.Mount) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	return m.Close(ctx)
}
