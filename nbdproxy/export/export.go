// Package export reads NBD exports of a libvirt backup with libnbd and sends what
// changed as a stream: it walks the block status, reads the data, and turns
// blocks of zeros into zero extents.
//
// It must never take silence for "nothing changed": a bitmap that the server does
// not offer, a reply that covers less than was asked for and a flag it does not know
// are errors, further questions, or data.
package export

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

const (
	maxConns   = 4  // per disk
	totalConns = 16 // of all disks, as far as each has at least one
	maxDisks   = 8  // read at the same time
	// maxWorkers bounds the goroutines, of all disks, that look for zeros, compress and
	// write; each holds some 2 MiB.
	maxWorkers = 16
)

// Disk is one export to read.
type Disk struct {
	Name   string
	Socket string
	Export string
	Bitmap string // the dirty bitmap to go by; empty to send the disk in full
	Size   int64  // bytes; the export must have exactly this size
}

// bitmapContext is the metadata context of the disk's dirty bitmap.
func (d *Disk) bitmapContext() string { return "qemu:dirty-bitmap:" + d.Bitmap }

// Error is a failure of the server that exports a disk.
type Error struct {
	Disk string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("reading disk %q: %v", e.Disk, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Check connects to each export and makes sure that it is what disks says. Its
// error is an [*Error].
func Check(ctx context.Context, disks []Disk) error {
	for i := range disks {
		s, err := newSurveyor(ctx, &disks[i])
		if err != nil {
			return err
		}
		s.close()
	}
	return nil
}

// dial connects to the export; contexts are the metadata contexts it must have.
func (d *Disk) dial(ctx context.Context, contexts ...string) (*nbdconn.Conn, error) {
	c, err := nbdconn.Dial(ctx, nbdconn.Options{Socket: d.Socket, Export: d.Export, Contexts: contexts})
	if err != nil {
		return nil, &Error{d.Name, err}
	}
	if c.Size() != d.Size {
		c.Close()
		return nil, &Error{d.Name, fmt.Errorf("the export has %d bytes where %d were expected", c.Size(), d.Size)}
	}
	return c, nil
}

// Send sends all disks, whose order is that of the stream's header, and ends the
// stream. meters has one entry per disk. When something fails while other
// goroutines wait for the stream's connection, interrupt is called to end that
// wait. A failure of an export is an [*Error]; the encoder's errors come as they are.
func Send(ctx context.Context, disks []Disk, enc *stream.Encoder, meters []*stream.Meter, interrupt func()) ([]stream.DiskSum, error) {
	// The first failure is kept before anything hears of it: what it interrupts fails
	// too, and must not be taken for the reason.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(ctx, interrupt)
	defer stop()
	sums := make([]stream.DiskSum, len(disks))
	var g errgroup.Group
	g.SetLimit(maxDisks)
	for i := range disks {
		g.Go(func() error {
			s := sender{
				disk: &disks[i], index: i, enc: enc, meter: meters[i],
				conns: max(1, min(maxConns, totalConns/len(disks))), fail: fail,
				workers: max(1, min(maxWorkers, runtime.GOMAXPROCS(0)+2)/len(disks)),
			}
			var err error
			if sums[i], err = s.run(ctx); err != nil {
				fail(err)
			}
			return err
		})
	}
	if g.Wait() != nil {
		return nil, context.Cause(ctx)
	}
	return sums, enc.End()
}
