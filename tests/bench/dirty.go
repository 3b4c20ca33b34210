package main

import (
	"context"
	"errors"
	"math/rand/v2"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/tests/lab"
)

// change is an extent to be written.
type change struct {
	offset, length int64
	zero           bool // else bytes that do not compress
}

// dirty writes extents to a disk of a machine on hosta, thousands a second: the
// machine is shut off and its image served by qemu-nbd, which keeps the dirty
// bitmaps that the checkpoints left in it as the machine's own qemu does.
func (b *bench) dirty(vm *lab.Machine, target string, changes func(yield func(change) bool)) error {
	image, err := vm.DiskPath(b.ctx, target)
	if err != nil {
		return err
	}
	if err := vm.Destroy(b.ctx); err != nil {
		return err
	}
	if err := b.write(image, changes); err != nil {
		return err
	}
	return vm.StartPaused(b.ctx)
}

// write writes extents to an image of hosta that no machine uses.
func (b *bench) write(image string, changes func(yield func(change) bool)) (err error) {
	const socket = "/run/bench-dirty.sock"
	server, err := b.qemuNBD(b.hosta, image, "-k", socket, "--cache=writeback")
	if err != nil {
		return err
	}
	defer func() {
		_, serr := server.stop()
		err = errors.Join(err, serr)
	}()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	conn, err := nbdconn.Dial(ctx, nbdconn.Options{Socket: b.hosta.Path(socket), Export: "disk"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := writeAll(conn, changes); err != nil {
		return err
	}
	return conn.Flush()
}

// writeAll sends the requests in batches: each keeps as many in flight as the
// connection carries, and a batch's data is at most some megabytes.
func writeAll(conn *nbdconn.Conn, changes func(yield func(change) bool)) error {
	const batch = 128
	random := rand.NewChaCha8([32]byte{1})
	var ops []nbdconn.Op
	for c := range changes {
		op := nbdconn.Op{Kind: nbdconn.Zero, Offset: c.offset, Length: c.length}
		if !c.zero {
			op = nbdconn.Op{Kind: nbdconn.Write, Offset: c.offset, Buf: make([]byte, c.length)}
			_, _ = random.Read(op.Buf) // does not fail
		}
		if ops = append(ops, op); len(ops) == batch {
			if err := conn.Do(ops); err != nil {
				return err
			}
			ops = ops[:0]
		}
	}
	return conn.Do(ops)
}
