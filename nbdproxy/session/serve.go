package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// goodbyeLimit is how long a receiver may take to read what is in the buffers
// between the two, once everything was sent.
const goodbyeLimit = 2 * time.Minute

// serveStream is the body of [Serve].
func serveStream(ctx context.Context, doc []byte, ev *emitter) (*result, error) {
	var s spec.Serve
	if err := parse(doc, &s); err != nil {
		return nil, err
	}
	header, err := serveHeader(&s)
	if err != nil {
		return nil, err
	}
	mode, err := stream.ParseMode(s.Compress)
	if err != nil {
		return nil, specError(err)
	}
	disks := make([]export.Disk, len(s.Disks))
	for i, d := range s.Disks {
		disks[i] = export.Disk{Name: d.Name, Socket: d.Socket, Export: d.Export, Bitmap: d.Bitmap, Size: d.Size}
	}
	if err := export.Check(ctx, disks); err != nil {
		return nil, err
	}
	conn, err := accept(ctx, s.Listen, ev)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	p := watchReceiver(ctx, conn)
	res, err := send(p.ctx, p, conn, header, mode, disks, ev)
	_ = conn.Close()
	<-p.ended
	// That the receiver went away explains whatever else went wrong.
	if cause := context.Cause(p.ctx); err != nil && cause != nil {
		err = cause
	}
	return res, err
}

func send(ctx context.Context, p *receiver, conn *net.UnixConn, h stream.Header, mode stream.Mode, disks []export.Disk, ev *emitter) (*result, error) {
	stop := context.AfterFunc(ctx, interrupter(conn))
	defer stop()
	enc, err := stream.NewEncoder(conn, h, mode)
	if err != nil {
		return nil, err
	}
	names, meters := newMeters(h.Disks)
	stopProgress := ev.progress(names, meters, enc.Traffic)
	defer stopProgress()
	sums, err := export.Send(ctx, disks, enc, meters, interrupter(conn))
	if err != nil {
		return nil, err
	}
	if err := p.goodbye(ctx, conn); err != nil {
		return nil, err
	}
	return &result{results(h.Disks, sums), enc.Traffic()}, nil
}

// receiver watches the other direction of the stream's connection. The receiver
// sends nothing; that it closes says that it has everything, or is gone.
type receiver struct {
	ctx   context.Context // ends when the receiver goes away early
	sent  atomic.Bool     // the whole stream was written
	ended chan struct{}
	err   error // why the watch ended, once ended is closed; nil after sent and a close
}

// watchReceiver ends when conn does.
func watchReceiver(ctx context.Context, conn net.Conn) *receiver {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &receiver{ctx: ctx, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		n, err := conn.Read(make([]byte, 1))
		switch {
		case n > 0:
			p.err = peerError(errors.New("the receiver of the stream sent something, which no receiver does"))
		case err == io.EOF && p.sent.Load():
			return
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			p.err = err // this side gave up, for a reason of its own
			return
		case err == io.EOF:
			p.err = peerError(errors.New("the receiver of the stream closed the connection before its end"))
		default:
			p.err = peerError(fmt.Errorf("the connection to the receiver of the stream broke: %w", err))
		}
		cancel(p.err)
	}()
	return p
}

// goodbye half-closes the connection and waits for the receiver to close its
// half, so that done means that every byte has left this process's buffers.
func (p *receiver) goodbye(ctx context.Context, conn *net.UnixConn) error {
	p.sent.Store(true)
	if err := conn.CloseWrite(); err != nil {
		return peerError(fmt.Errorf("ending the stream: %w", err))
	}
	limit := time.NewTimer(goodbyeLimit)
	defer limit.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-limit.C:
		return peerError(fmt.Errorf("the receiver of the stream did not read its end within %v", goodbyeLimit))
	}
}
