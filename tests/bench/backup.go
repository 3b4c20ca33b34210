package main

import (
	"context"
	"errors"
	"fmt"
)

// exported does something while libvirt's own backup export of vm1 is up; server
// is the export's <server> element.
func (b *bench) exported(server string, do func() error) error {
	if _, err := b.machine(); err != nil {
		return err
	}
	const job = "/var/tmp/backup.xml"
	xml := fmt.Sprintf(`<domainbackup mode='pull'>%s</domainbackup>`, server)
	if err := b.hosta.WriteFile(job, []byte(xml), 0o644); err != nil {
		return err
	}
	if _, err := b.hosta.Run(b.ctx, "virsh", "backup-begin", "vm1", job); err != nil {
		return err
	}
	err := do()
	_, aerr := b.hosta.Run(context.WithoutCancel(b.ctx), "virsh", "domjobabort", "vm1")
	return errors.Join(err, aerr)
}

// nbdcopy copies vda from libvirt's own export to a fresh image on hostb, with
// nothing between them but TCP: no checkpoint, no checksums, no encryption.
func (b *bench) nbdcopy() (c cost, err error) {
	const image = "/var/tmp/nbdcopy.qcow2"
	if _, err := b.hostb.Run(b.ctx, "qemu-img", "create", "-q", "-f", "qcow2", image, "4G"); err != nil {
		return c, err
	}
	defer func() {
		_, rerr := b.hostb.Run(context.WithoutCancel(b.ctx), "rm", image)
		err = errors.Join(err, rerr)
	}()
	server := fmt.Sprintf("<server transport='tcp' name='%s' port='10809'/>", b.hosta.Addr())
	err = b.exported(server, func() error {
		target, err := b.qemuNBD(b.hostb, image, "-b", b.hostb.Addr(), "-p", "10900", "--cache=none", "--aio=io_uring")
		if err != nil {
			return err
		}
		_, c, err = b.measured(b.hostb, "nbdcopy", "--flush",
			fmt.Sprintf("nbd://%s:10809/vda", b.hosta.Addr()), fmt.Sprintf("nbd://%s:10900/disk", b.hostb.Addr()))
		cpu, serr := target.stop()
		c.cpu += cpu
		return errors.Join(err, serr)
	})
	return c, err
}
