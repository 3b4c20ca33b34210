package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/link"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// goodbyeLimit is how long a receiver may take to read what is in the buffers
// between the two, once everything was sent.
const goodbyeLimit = 2 * time.Minute

// serveStream is the body of [Serve].
func serveStream(ctx context.Context, doc []byte, ev *emitter, log *slog.Logger) (*result, error) {
	var s spec.Serve
	if err := parse(doc, &s); err != nil {
		return nil, err
	}
	header, err := serveHeader(&s)
	if err != nil {
		return nil, err
	}
	compression, err := spec.ParseCompression(s.Compress)
	if err != nil {
		return nil, specError(err)
	}
	disks, err := sources(&s)
	if err != nil {
		return nil, err
	}
	defer closeKnown(disks)
	if err := export.Check(ctx, disks); err != nil {
		return nil, err
	}
	nbd, err := startNBD(ctx, &s, log)
	if err != nil {
		return nil, err
	}
	defer nbd.stop()
	if !streams(&s) {
		return nbd.untilStopped(ctx, ev)
	}
	conns, err := sendingEnds(ctx, &s, ev, nbd.where(), log)
	if err != nil {
		return nil, err
	}
	defer link.CloseAll(conns)
	p := watchReceiver(ctx, conns)
	link.Limit(p.ctx, conns, s.Rate)
	res, err := send(p, conns, header, compression, disks, ev)
	link.CloseAll(conns)
	p.wait()
	// That the receiver went away explains whatever else went wrong.
	if cause := context.Cause(p.ctx); err != nil && cause != nil {
		err = cause
	}
	return res, err
}

func send(p *receiver, conns []*link.Conn, h stream.Header, c spec.Compression, disks []export.Disk, ev *emitter) (*result, error) {
	stop := context.AfterFunc(p.ctx, interrupter(conns))
	defer stop()
	lanes := make([]io.Writer, len(conns))
	for i, c := range conns {
		lanes[i] = c
	}
	enc, err := stream.NewEncoder(h, c, lanes...)
	if err != nil {
		return nil, err
	}
	names, meters := newMeters(h.Disks)
	stopProgress := ev.progress(names, meters, enc.Traffic)
	defer stopProgress()
	got, err := export.Send(p.ctx, disks, enc, meters, interrupter(conns))
	if err != nil {
		return nil, err
	}
	if err := p.goodbye(); err != nil {
		return nil, err
	}
	sums := make([]stream.DiskSum, len(got))
	for i := range got {
		sums[i] = got[i].Sum
	}
	res := &result{results(h.Disks, sums), enc.Traffic()}
	for i := range got {
		if c := got[i].Content; c != nil {
			res.disks[i].Content = c.String()
		}
	}
	return res, nil
}

// receiver watches the other direction of the stream's connections. The receiver
// sends nothing; that it closes says that it has everything, or is gone.
type receiver struct {
	ctx    context.Context // ends when the receiver goes away early
	conns  []*link.Conn
	sent   atomic.Bool   // the whole stream was written
	ended  chan struct{} // closed when every connection was closed
	cancel context.CancelCauseFunc
	alive  func() // ends the watch for a silent death
}

// watchReceiver ends when the connections do.
func watchReceiver(ctx context.Context, conns []*link.Conn) *receiver {
	p := &receiver{conns: conns, ended: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.alive = link.WatchAlive(p.ctx, conns, func(err error) { p.cancel(peerError(err)) })
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			if err := p.watch(c); err != nil {
				p.cancel(err)
			}
		})
	}
	go func() { wg.Wait(); close(p.ended) }()
	return p
}

// watch returns why a connection ended too early, or nil.
func (p *receiver) watch(c *link.Conn) error {
	n, err := c.Read(make([]byte, 1))
	switch {
	case n > 0:
		return peerError(errors.New("the receiver of the stream sent something, which no receiver does"))
	case err == io.EOF && p.sent.Load():
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return nil // this side gave up, for a reason of its own
	case err == io.EOF:
		return peerError(errors.New("the receiver of the stream closed the connection before its end"))
	default:
		return peerError(fmt.Errorf("the connection to the receiver of the stream broke: %w", err))
	}
}

// wait returns when nothing of the receiver's goes on any more. The connections must
// have been closed.
func (p *receiver) wait() {
	p.alive()
	<-p.ended
}

// goodbye half-closes the connections and waits for the receiver to close its
// halves, so that done means that every byte has left this process's buffers.
func (p *receiver) goodbye() error {
	p.sent.Store(true)
	for _, c := range p.conns {
		if err := c.CloseWrite(); err != nil {
			return peerError(fmt.Errorf("ending the stream: %w", err))
		}
	}
	limit := time.NewTimer(goodbyeLimit)
	defer limit.Stop()
	select {
	case <-p.ended:
		return context.Cause(p.ctx)
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case <-limit.C:
		return peerError(fmt.Errorf("the receiver of the stream did not read its end within %v", goodbyeLimit))
	}
}
