package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"vmsync/internal/store"
)

// compareDisk compares a disk of the paused machine with the replica's, byte for
// byte, and tells what both take on disk.
func (d *demo) compareDisk(disk string) error {
	source, err := d.vm.DiskPath(d.ctx, disk)
	if err != nil {
		return err
	}
	if _, err := d.vm.QemuIO(d.ctx, disk, "flush"); err != nil {
		return err
	}
	replica, err := d.replicaImage(disk)
	if err != nil {
		return err
	}
	a, b := d.hosta.Path(source), d.hostb.Path(replica)
	out, err := exec.CommandContext(d.ctx, "qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", a, b).CombinedOutput()
	if err != nil {
		return fmt.Errorf("disk %s: source and replica differ: %w\n%s", disk, err, out)
	}
	sizes := make([]int64, 2)
	for i, p := range []string{a, b} {
		st, err := os.Stat(p)
		if err != nil {
			return err
		}
		sizes[i] = st.Sys().(*syscall.Stat_t).Blocks * 512 >> 20
	}
	fmt.Printf("  %s: identical  (hosta:%s %d MiB, hostb:%s %d MiB)\n", disk, source, sizes[0], replica, sizes[1])
	return nil
}

// replicaImage is the path on hostb of the image that holds a replica's disk.
func (d *demo) replicaImage(disk string) (string, error) {
	const dir = "/var/lib/vmsync/vm1/"
	b, err := d.hostb.ReadFile(dir + "manifest.json")
	if err != nil {
		return "", err
	}
	m := &store.Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return "", err
	}
	for _, held := range m.Head().Disks {
		if held.Name == disk {
			return dir + held.Image, nil
		}
	}
	return "", fmt.Errorf("the replica has no disk %s", disk)
}

// indent writes lines indented.
type indent struct{ w io.Writer }

func (i indent) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if _, err := fmt.Fprint(i.w, "  ", line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
