// Package export reads NBD exports of a libvirt backup with libnbd and sends what
// changed as a stream: it walks the block status, reads the data, turns blocks of zeros
// into zero extents, and leaves out blocks that the receiver is known to have. It also
// makes block indexes of exports.
//
// It must never take silence for "nothing changed": a bitmap that the server does
// not offer, a reply that covers less than was asked for and a flag it does not know
// are errors, further questions, or data.
package export

import (
	"context"
	"fmt"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/nbdconn"
)

// Disk is one export to read.
type Disk struct {
	Name   string
	Socket string
	Export string
	Bitmap string // the dirty bitmap to go by; empty to send the disk in full
	Size   int64  // bytes; the export must have exactly this size
	// Known is an index of what the receiver already has, of a disk of any size; nil if that
	// is not known. Blocks with the known hash are not sent.
	Known *blockindex.File
	// KnownPart says that of a block which is not in Known nothing is known; else it is
	// zeros.
	KnownPart bool
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

// IndexError is a failure of the index that goes with a disk.
type IndexError struct {
	Disk string
	Err  error
}

func (e *IndexError) Error() string {
	return fmt.Sprintf("the block index of disk %q: %v", e.Disk, e.Err)
}
func (e *IndexError) Unwrap() error { return e.Err }

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
