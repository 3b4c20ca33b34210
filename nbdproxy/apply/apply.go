// Package apply writes a stream to NBD servers with libnbd, one server per disk.
//
// It checks everything the stream claims against what was asked for before it
// writes, and verifies each frame before writing it. What it has written means
// nothing until [Receive] has returned without an error: then all of it is flushed.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

const (
	maxConns   = 4  // per disk
	totalConns = 16 // of all disks, as far as each has at least one
	// frames bounds the frames that were read and are not yet written, of all
	// disks; each takes a little more than a MiB.
	frames = 16
)

// Disk is one NBD server to write to.
type Disk struct {
	Name   string
	Socket string
	Export string
	// Incremental disks get zeros written. A full disk's export must read as zeros
	// throughout beforehand, so its zero extents are not written.
	Incremental bool
	Size        int64  // bytes
	Index       *Index // to make meanwhile; nil for none
}

// Error is a failure of the server that takes a disk, or of the disk's index.
// [NoSpace] tells whether the storage is full.
type Error struct {
	Disk string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("writing disk %q: %v", e.Disk, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// NoSpace tells whether the storage of a server or of an index is full.
func NoSpace(err error) bool {
	return nbdconn.NoSpace(err) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Result is what became of one disk.
type Result struct {
	Sum stream.DiskSum
	// Content is the digest of what the disk now holds; of a disk with an index.
	Content blockindex.Digest
}

// ErrMismatch means that the stream is sound but not the one that was asked for.
var ErrMismatch = errors.New("not the stream that was asked for")

// Match compares a stream's header with what was asked for. It returns the
// index into disks for each disk of the header, or an [ErrMismatch].
func Match(h *stream.Header, domain, checkpoint, parent string, disks []Disk) ([]int, error) {
	for _, c := range []struct{ what, got, want string }{
		{"domain", h.Domain, domain}, {"checkpoint", h.Checkpoint, checkpoint}, {"parent", h.Parent, parent},
	} {
		if c.got != c.want {
			return nil, fmt.Errorf("%w: its %s is %q where %q was expected", ErrMismatch, c.what, c.got, c.want)
		}
	}
	if len(h.Disks) != len(disks) {
		return nil, fmt.Errorf("%w: it has %d disks where %d were expected", ErrMismatch, len(h.Disks), len(disks))
	}
	byName := make(map[string]int, len(disks))
	for i, d := range disks {
		byName[d.Name] = i
	}
	index := make([]int, len(h.Disks))
	for i, got := range h.Disks {
		k, ok := byName[got.Name]
		if !ok {
			return nil, fmt.Errorf("%w: disk %q was not expected", ErrMismatch, got.Name)
		}
		if want := disks[k]; got.Size != want.Size || got.Incremental != want.Incremental {
			return nil, fmt.Errorf("%w: disk %q has %d bytes (incremental: %t) where %d (incremental: %t) were expected",
				ErrMismatch, got.Name, got.Size, got.Incremental, want.Size, want.Incremental)
		}
		index[i] = k
	}
	return index, nil
}

// Check connects to each server and makes sure that it can take the disk. Its
// error is an [*Error].
func Check(ctx context.Context, disks []Disk) error {
	for i := range disks {
		if _, err := disks[i].check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// check returns how many connections the server is good for.
func (d *Disk) check(ctx context.Context) (int, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	f, err := c.Features()
	switch {
	case err != nil:
	case f.ReadOnly:
		err = errors.New("the export is read-only")
	case !f.Flush:
		err = errors.New("the server cannot flush, so nothing written to it is known to be durable")
	case d.Incremental && !f.Zero:
		err = errors.New("the server cannot write zeroes")
	}
	if err != nil {
		return 0, &Error{d.Name, err}
	}
	if f.MultiConn {
		return maxConns, nil
	}
	return 1, nil
}

func (d *Disk) dial(ctx context.Context) (*nbdconn.Conn, error) {
	c, err := nbdconn.Dial(ctx, nbdconn.Options{Socket: d.Socket, Export: d.Export})
	if err != nil {
		return nil, &Error{d.Name, err}
	}
	if c.Size() != d.Size {
		c.Close()
		return nil, &Error{d.Name, fmt.Errorf("the export has %d bytes where %d were expected", c.Size(), d.Size)}
	}
	return c, nil
}

// Receive writes the stream to disks, which are in the order of the stream's
// header, flushes, completes their indexes, and returns the results. meters has one entry per
// disk. The last byte of the stream having been read, received is called; the writing
// goes on. When writing fails while the stream is being waited for, interrupt is called to
// end that wait. A server's or an index's failure is an [*Error]; the decoder's errors come
// as they are.
func Receive(ctx context.Context, dec *stream.Decoder, disks []Disk, meters []*stream.Meter, received, interrupt func()) ([]Result, error) {
	indexers, err := openIndexers(disks)
	defer closeIndexers(indexers)
	if err != nil {
		return nil, err
	}
	conns := make([]int, len(disks))
	for i := range disks {
		var err error
		if conns[i], err = disks[i].check(ctx); err != nil {
			return nil, err
		}
	}
	// The first failure is kept before anything hears of it: what it interrupts fails
	// too, and must not be taken for the reason.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(ctx, interrupt)
	defer stop()
	var g errgroup.Group
	spawn := func(f func() error) {
		g.Go(func() error {
			err := f()
			if err != nil {
				fail(err)
			}
			return err
		})
	}
	free := make(chan *stream.Frame, frames)
	for range frames {
		free <- new(stream.Frame)
	}
	queues := make([]chan *stream.Frame, len(disks))
	for i := range disks {
		d := &disks[i]
		// No queue can fill up, so that one slow disk does not hold back another's
		// frames before the frames run out.
		queues[i] = make(chan *stream.Frame, frames)
		n := min(conns[i], max(1, totalConns/len(disks)))
		w := writer{disk: d, meter: meters[i], queue: queues[i], free: free, steady: new(steady), indexer: indexers[i], written: newBarrier(n)}
		if !d.Incremental {
			meters[i].Total.Store(d.Size)
		}
		for range n {
			spawn(func() error { return w.run(ctx) })
		}
	}
	r := receiver{dec: dec, meters: meters, queues: queues, free: free, open: len(dec.Lanes()), received: received}
	for _, l := range dec.Lanes() {
		spawn(func() error { return r.run(ctx, l) })
	}
	if g.Wait() != nil {
		return nil, context.Cause(ctx)
	}
	sums, err := dec.Result()
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(disks))
	for i, x := range indexers {
		results[i].Sum = sums[i]
		if results[i].Content, err = x.finish(ctx); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// receiver reads a stream's connections.
type receiver struct {
	dec    *stream.Decoder
	meters []*stream.Meter
	queues []chan *stream.Frame
	free   <-chan *stream.Frame

	mu       sync.Mutex
	open     int // connections that have not ended
	received func()
}

// run reads one connection and hands each frame to its disk's writers. An error
// ends the writers through ctx.
func (r *receiver) run(ctx context.Context, l *stream.Lane) error {
	var f *stream.Frame
	for {
		if f == nil {
			select {
			case f = <-r.free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		err := l.Next(f)
		if err == io.EOF {
			r.ended()
			return nil
		}
		if err != nil {
			return err
		}
		if f.Kind == stream.KindDiskEnd {
			r.meters[f.Disk].Total.Store(f.Sum.DataBytes + f.Sum.ZeroBytes)
			continue
		}
		r.queues[f.Disk] <- f
		f = nil
	}
}

// ended ends the writers when no connection is left that could bring a frame.
func (r *receiver) ended() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open--; r.open > 0 {
		return
	}
	r.received()
	for _, q := range r.queues {
		close(q)
	}
}
