package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator/restore"
)

// restoreFlags are the restore command's flags.
type restoreFlags struct {
	req    restore.Request
	output outputFlags
}

func restoreCommand() *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore DOMAIN[@STATE] --to DIR|FILE|DEVICE",
		Short: "Write a state's disks out, and perhaps define a machine over them",
		Long: `Write the disks of a state of a replica on this host to a folder, a file or a block device, and read back
what was written. Without @STATE it is the newest state. To a folder the domain XML, the UEFI variables and the state of the
TPM go as well. A file or a device takes one disk.

The format is qcow2 in a folder and for FILE.qcow2, and raw for FILE.img, FILE.raw and devices.`,
		Example: `  vmsync restore vm1 --to /srv/vm1
  vmsync restore vm1@2026-11-21T070301Z --to /srv/test --define vm1-test
  vmsync restore vm1 --disk vda --to /dev/vg0/vm1 --yes`,
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
	flags.StringVar(&f.req.To, "to", "", "folder, file or block device to write to")
	flags.StringArrayVar(&f.req.Disks, "disk", nil, "restore only this disk, by target device (repeatable)")
	flags.StringVar(&f.req.Format, "format", "", "qcow2 or raw (default: what --to suggests)")
	flags.StringVar(&f.req.Define, "define", "", "define a domain of this name over the restored disks, shut off, with a UUID and MAC addresses of its own")
	flags.BoolVar(&f.req.Force, "force", false, "overwrite files that exist")
	flags.BoolVar(&f.req.Yes, "yes", false, "overwrite the block device")
	flags.StringVar(&f.req.Store, "store", defaultStore, "folder on this host that holds replicas")
	f.output.add(flags)
	return cmd
}

// complete checks the command line and fills in what follows from it.
func (f *restoreFlags) complete(address string) (err error) {
	if f.req.Domain, f.req.State, err = store.ParseAddress(address); err != nil {
		return err
	}
	if f.req.To == "" {
		return fmt.Errorf("where to? Usage: vmsync restore %s --to DIR|FILE|DEVICE", address)
	}
	if f.req.Format != "" && f.req.Format != qemu.FormatQcow2 && f.req.Format != qemu.FormatRaw {
		return fmt.Errorf("--format %q: use qcow2 or raw", f.req.Format)
	}
	if err := checkStore(f.req.Store); err != nil {
		return err
	}
	slash := strings.HasSuffix(f.req.To, "/")
	if f.req.To, err = filepath.Abs(f.req.To); err != nil {
		return err
	}
	if slash {
		f.req.To += "/" // it says that a folder is meant
	}
	return f.output.check()
}

func (f *restoreFlags) run(ctx context.Context) error {
	out, _ := f.output.open(os.Stdout)
	done, err := restore.Restore(ctx, f.req, out)
	if done != nil {
		out.Emit(*done)
	}
	return finish(out, f.req.Domain, err)
}
