package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// fill gives vda 1.5 GiB of content: 512 MiB that do not compress, and 1 GiB of
// this machine's own files.
func (b *bench) fill() error {
	image, err := b.vm.DiskPath(b.ctx, "vda")
	if err != nil {
		return err
	}
	if err := b.vm.Destroy(b.ctx); err != nil {
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
	err = errors.Join(cmd.Run(), out.Truncate(4<<30), out.Close())
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(b.ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, b.hosta.Path(image)).CombinedOutput(); err != nil {
		return fmt.Errorf("fill vda: %w\n%s", err, out)
	}
	return b.vm.StartPaused(b.ctx)
}

// nbdcopy copies vda from libvirt's own export to a fresh image on hostb, with
// nothing between them but TCP: no checkpoint, no checksums, no encryption.
func (b *bench) nbdcopy() (took time.Duration, err error) {
	const image, job = "/var/tmp/nbdcopy.qcow2", "/var/tmp/backup.xml"
	xml := fmt.Sprintf(`<domainbackup mode='pull'><server transport='tcp' name='%s' port='10809'/></domainbackup>`, b.hosta.Addr())
	if err := b.hosta.WriteFile(job, []byte(xml), 0o644); err != nil {
		return 0, err
	}
	if _, err := b.hosta.Run(b.ctx, "virsh", "backup-begin", "vm1", job); err != nil {
		return 0, err
	}
	defer func() {
		_, aerr := b.hosta.Run(b.ctx, "virsh", "domjobabort", "vm1")
		err = errors.Join(err, aerr)
	}()
	if _, err := b.hostb.Run(b.ctx, "qemu-img", "create", "-q", "-f", "qcow2", image, "4G"); err != nil {
		return 0, err
	}
	if _, err := b.hostb.Run(b.ctx, "qemu-nbd", "--fork", "--pid-file=/run/bench-nbd.pid", "-b", b.hostb.Addr(), "-p", "10900", "-x", "vda",
		"-f", "qcow2", "--cache=none", "--aio=io_uring", "--discard=unmap", "-e", "8", "-t", image); err != nil {
		return 0, err
	}
	defer func() {
		_, kerr := b.hostb.Run(b.ctx, "sh", "-c", "p=$(cat /run/bench-nbd.pid); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.05; done; rm "+image)
		err = errors.Join(err, kerr)
	}()
	return b.timed(b.hostb, "nbdcopy", "--flush", fmt.Sprintf("nbd://%s:10809/vda", b.hosta.Addr()), fmt.Sprintf("nbd://%s:10900/vda", b.hostb.Addr()))
}

var syncCommand = []string{"vmsync", "sync", "vm1", "--source-uri", "qemu+ssh://root@hosta/system", "--progress", "none"}

// fullSync replicates vda in full to an empty store.
func (b *bench) fullSync() (time.Duration, error) {
	if err := b.hostb.Machine("vm1").Remove(b.ctx); err != nil {
		return 0, err
	}
	if _, err := b.hostb.Run(b.ctx, "rm", "-rf", "/var/lib/vmsync"); err != nil {
		return 0, err
	}
	return b.timed(b.hostb, append(syncCommand, "--disk", "vda")...)
}

// idleSync replicates both disks when nothing has changed.
func (b *bench) idleSync() (time.Duration, error) {
	if _, err := b.hostb.Run(b.ctx, syncCommand...); err != nil {
		return 0, err
	}
	return b.timed(b.hostb, syncCommand...)
}
