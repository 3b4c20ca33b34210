package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/tests/lab"
)

func (a *app) machine() *cobra.Command {
	c := &cobra.Command{Use: "machine", Short: "Make, change and remove machines"}
	c.AddCommand(a.machineCreate(), a.machineDirty(), a.machineIO(), a.machineAttach(), a.machineDetach(), a.machineRemove())
	return c
}

// parseDisk reads "vda:1G" or "vdb:1G:raw".
func parseDisk(s string) (lab.DiskSpec, error) {
	target, rest, _ := strings.Cut(s, ":")
	size, format, _ := strings.Cut(rest, ":")
	n, err := lab.ParseSize(size)
	if err != nil || target == "" {
		return lab.DiskSpec{}, fmt.Errorf("disk %q: want TARGET:SIZE or TARGET:SIZE:FORMAT", s)
	}
	return lab.DiskSpec{Target: target, Size: n, Format: format}, nil
}

func (a *app) machineCreate() *cobra.Command {
	var disks []string
	var guest, paused, noAgent bool
	c := &cobra.Command{
		Use:   "create HOST NAME",
		Short: "Create and start a machine",
		Long: "Create and start a machine: with --guest a live Linux with the guest agent,\n" +
			"ext4 on its disks, mounted at /mnt/TARGET; otherwise without a guest, paused.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			spec := lab.MachineSpec{Name: args[1], Guest: guest, NoAgent: noAgent}
			for _, s := range disks {
				d, err := parseDisk(s)
				if err != nil {
					return err
				}
				spec.Disks = append(spec.Disks, d)
			}
			_, err = h.CreateMachine(c.Context(), spec)
			return err
		},
	}
	c.Flags().StringSliceVar(&disks, "disks", []string{"vda:1G"}, "TARGET:SIZE[:FORMAT] of each disk")
	c.Flags().BoolVar(&guest, "guest", false, "boot a live guest")
	c.Flags().BoolVar(&paused, "paused", false, "no guest, processor stopped (default)")
	c.Flags().BoolVar(&noAgent, "no-agent", false, "a guest without agent")
	c.MarkFlagsMutuallyExclusive("guest", "paused")
	return c
}

func (a *app) machineDirty() *cobra.Command {
	var pattern string
	var zero, discard bool
	c := &cobra.Command{
		Use:   "dirty HOST NAME DISK OFFSET LENGTH",
		Short: "Change a range of a disk below the guest, as a guest's write would",
		Args:  cobra.ExactArgs(5),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			offset, err := lab.ParseSize(args[3])
			if err != nil {
				return err
			}
			length, err := lab.ParseSize(args[4])
			if err != nil {
				return err
			}
			n, err := strconv.ParseUint(pattern, 0, 8)
			if err != nil {
				return fmt.Errorf("--pattern %q: want a byte such as 0xab", pattern)
			}
			kind := int(n)
			if zero {
				kind = lab.Zero
			}
			if discard {
				kind = lab.Discard
			}
			return h.Machine(args[1]).Dirty(c.Context(), args[2], offset, length, kind)
		},
	}
	c.Flags().StringVar(&pattern, "pattern", "0xab", "the byte to write")
	c.Flags().BoolVar(&zero, "zero", false, "write zeros without data")
	c.Flags().BoolVar(&discard, "discard", false, "discard the range")
	c.MarkFlagsMutuallyExclusive("pattern", "zero", "discard")
	return c
}

func (a *app) machineIO() *cobra.Command {
	return &cobra.Command{
		Use:   "io HOST NAME DISK COMMAND",
		Short: "Run a qemu-io command on a disk, as in `read -P 0xab 1M 64k`",
		Args:  cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			out, err := h.Machine(args[1]).QemuIO(c.Context(), args[2], args[3])
			if err == nil && out != "" {
				fmt.Println(out)
			}
			return err
		},
	}
}

func (a *app) machineAttach() *cobra.Command {
	return &cobra.Command{
		Use:   "attach HOST NAME DISK:SIZE",
		Short: "Plug a new disk into a running machine",
		Args:  cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			d, err := parseDisk(args[2])
			if err != nil {
				return err
			}
			return h.Machine(args[1]).AttachDisk(c.Context(), d)
		},
	}
}

func (a *app) machineDetach() *cobra.Command {
	return &cobra.Command{
		Use:   "detach HOST NAME DISK",
		Short: "Unplug a disk from a running machine; its image stays",
		Args:  cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			return h.Machine(args[1]).DetachDisk(c.Context(), args[2])
		},
	}
}

func (a *app) machineRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove HOST NAME",
		Short: "Destroy a machine and delete its disks",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			return h.Machine(args[1]).Remove(c.Context())
		},
	}
}

func (a *app) guest() *cobra.Command {
	return &cobra.Command{
		Use:   "guest HOST NAME -- COMMAND [ARG…]",
		Short: "Run a command in a guest through its agent; its exit status is passed on",
		Args:  cobra.MinimumNArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			out, err := h.Machine(args[1]).Guest(c.Context(), args[2:]...)
			fmt.Print(out)
			var ge *lab.GuestError
			if errors.As(err, &ge) && ge.ExitCode > 0 {
				fmt.Fprint(os.Stderr, ge.Stderr)
				return &exitError{ge.ExitCode}
			}
			return err
		},
	}
}

// exitError ends the lab command with a status and no words: the command in the
// guest had its own.
type exitError struct{ code int }

func (e *exitError) Error() string { return "exit status " + strconv.Itoa(e.code) }
