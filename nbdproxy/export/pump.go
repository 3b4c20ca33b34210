package export

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"vmsync/nbdproxy/stream"
)

const (
	maxConns   = 4  // per disk
	totalConns = 16 // of all disks, as far as each has at least one
	maxDisks   = 8  // read at the same time
	// maxWorkers bounds the goroutines, of all disks, that look at what is read, compress
	// and write; each holds some 2 MiB.
	maxWorkers = 16
)

// pumpAll calls f for each of n disks, several at a time, with a pump of its own. The first
// failure ends the context of all, whose cause it is, and is returned; interrupt is called
// when the context ends.
func pumpAll(ctx context.Context, n int, interrupt func(), f func(ctx context.Context, i int, p *pump) error) error {
	// The first failure is kept before anything hears of it: what it interrupts fails
	// too, and must not be taken for the reason.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(ctx, interrupt)
	defer stop()
	var g errgroup.Group
	g.SetLimit(maxDisks)
	for i := range n {
		g.Go(func() error {
			conns := max(1, min(maxConns, totalConns/n))
			workers := max(1, min(maxWorkers, runtime.GOMAXPROCS(0)+2)/n)
			err := f(ctx, i, &pump{conns: conns, workers: max(workers, conns), fail: fail})
			if err != nil {
				fail(err)
			}
			return err
		})
	}
	if g.Wait() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// pump reads what a survey finds of one disk: the survey hands frames to be filled to
// workers, each of which reads and goes on with what it has read on its own.
type pump struct {
	conns   int
	workers int
	fail    context.CancelCauseFunc // ends the context of all disks

	frames *backlog // to be read
	reader *reader
	slices sync.Pool // of *[]stream.Extent, for frames
}

// run returns when find, which puts frames, and all workers have ended.
func (p *pump) run(ctx context.Context, d *Disk, find func() error, work func(worker int) error) error {
	var err error
	if p.reader, err = newReader(ctx, d, p.conns); err != nil {
		return err
	}
	defer p.reader.close()
	p.frames = newBacklog()
	var g errgroup.Group
	spawn := func(f func() error) {
		g.Go(func() error {
			err := f()
			if err != nil {
				p.fail(err)
			}
			return err
		})
	}
	spawn(func() error {
		defer p.frames.close()
		return find()
	})
	for i := range p.workers {
		spawn(func() error { return work(i) })
	}
	return g.Wait()
}

// packer returns one that puts frames of data.
func (p *pump) packer(ctx context.Context, zero func([]stream.Extent) error) *packer {
	return &packer{
		data: func(extents []stream.Extent) error { return p.frames.put(ctx, extents) },
		zero: zero,
		list: p.list,
	}
}

// list returns an empty list of extents, recycled if there is one.
func (p *pump) list() []stream.Extent {
	if l, ok := p.slices.Get().(*[]stream.Extent); ok {
		return (*l)[:0]
	}
	return nil
}

func (p *pump) recycle(l []stream.Extent) { p.slices.Put(&l) }
