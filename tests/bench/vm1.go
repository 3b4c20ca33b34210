package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"vmsync/tests/lab"
)

// machine is vm1: vda with 4 GiB, of which 1.5 GiB are data, and vdb with 1 GiB
// of nothing.
func (b *bench) machine() (*lab.Machine, error) {
	if b.vm1 != nil {
		return b.vm1, nil
	}
	vm, err := b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: "vm1", Disks: []lab.DiskSpec{
		{Target: "vda", Size: 4 * gib}, {Target: "vdb", Size: gib}}})
	if err != nil {
		return nil, err
	}
	if err := vm.Destroy(b.ctx); err != nil {
		return nil, err
	}
	if err := b.fill(vm); err != nil {
		return nil, err
	}
	if err := vm.StartPaused(b.ctx); err != nil {
		return nil, err
	}
	b.vm1 = vm
	return vm, nil
}

// fill gives vda its content: 512 MiB that do not compress, and 1 GiB of this
// machine's own files.
func (b *bench) fill(vm *lab.Machine) error {
	image, err := vm.DiskPath(b.ctx, "vda")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vmsync-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	raw := filepath.Join(dir, "raw")
	script := `set -e; head -c 512M /dev/urandom; { tar -cf - /usr/lib /usr/share /usr/bin 2>/dev/null || :; } | head -c 1G`
	cmd := exec.CommandContext(b.ctx, "bash", "-c", script)
	out, err := os.Create(raw)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := errors.Join(cmd.Run(), out.Truncate(4*gib), out.Close()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(b.ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, b.hosta.Path(image)).CombinedOutput(); err != nil {
		return fmt.Errorf("fill vda: %w\n%s", err, out)
	}
	return nil
}
