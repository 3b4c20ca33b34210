package main

import (
	"errors"
	"fmt"
)

// proxyCase reads vda with nbdcopy, from libvirt's own export and through
// vmsync-nbd's proxy.
func proxyCase(b *bench, rounds int) (rows []row, err error) {
	// A folder that qemu may make its socket in.
	const dir, upstream, socket = "/run/bench-backup", "/run/bench-backup/export.sock", "/run/bench-proxy.sock"
	if _, err := b.hosta.Run(b.ctx, "install", "-d", "-o", "libvirt-qemu", dir); err != nil {
		return nil, err
	}
	uri := func(socket string) string { return "nbd+unix:///vda?socket=" + socket }
	err = b.exported("<server transport='unix' socket='"+upstream+"'/>", func() error {
		ready := func() bool { _, err := b.hosta.Run(b.ctx, "nbdinfo", "--size", uri(socket)); return err == nil }
		proxy, err := b.serve(b.hosta, ready, "vmsync-nbd", "proxy", "--upstream", uri(upstream), "--unix", socket)
		if err != nil {
			return err
		}
		read := func(socket string) func() (cost, error) {
			return func() (cost, error) { return b.readAll(uri(socket)) }
		}
		c, err := b.compare(rounds, contender{"direct", read(upstream)}, contender{"proxy", read(socket)})
		if _, serr := proxy.stop(); err != nil || serr != nil {
			return errors.Join(err, serr)
		}
		direct, through := c[0], c[1]
		rows = []row{row{what: "nbdcopy to null: through the proxy, speed", ours: fmt.Sprintf("%.2f s", through.wall.Seconds()),
			reference: fmt.Sprintf("direct %.2f s", direct.wall.Seconds())}.
			atLeast("%.2f ×", direct.wall.Seconds()/through.wall.Seconds(), 0.8)}
		return nil
	})
	return rows, err
}

// readAll reads an export several times, because once is over too soon to tell.
func (b *bench) readAll(uri string) (cost, error) {
	_, c, err := b.measured(b.hosta, "sh", "-c", fmt.Sprintf("for i in 1 2 3 4; do nbdcopy '%s' null: || exit; done", uri))
	return c, err
}
