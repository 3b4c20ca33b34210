package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/offer"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/upstream"
)

// nbdServer offers the disks of a session to NBD clients. A nil one offers none.
type nbdServer struct {
	addresses []string
	log       *slog.Logger
	cancel    context.CancelFunc
	ended     chan struct{}
	err       error // why it ended, once ended is closed; nil if it was stopped
}

// streams tells whether a document asks for a stream.
func streams(s *spec.Serve) bool { return s.NBD == nil || s.Listen != "" || s.Connect != nil }

// startNBD starts the NBD server that a document asks for, if it does, and returns
// when that listens. Whoever calls it calls stop.
func startNBD(ctx context.Context, s *spec.Serve, log *slog.Logger) (*nbdServer, error) {
	if s.NBD == nil {
		return nil, nil
	}
	for _, p := range []string{s.NBD.Unix, s.NBD.TLS} {
		if err := checkPaths(p); p != "" && err != nil {
			return nil, err
		}
	}
	n := &nbdServer{log: log, ended: make(chan struct{})}
	running, cancel := context.WithCancel(ctx)
	n.cancel = cancel
	listening := make(chan []string, 1)
	go func() {
		defer close(n.ended)
		n.err = offer.Run(running, offered(s, log), func(a []string) error { listening <- a; return nil })
	}()
	select {
	case n.addresses = <-listening:
		return n, nil
	case <-n.ended:
		cancel()
	}
	var lost *offer.Error
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(n.err, &lost):
		return nil, n.failure()
	}
	return nil, specError(n.err)
}

// offered is what the document asks for.
func offered(s *spec.Serve, log *slog.Logger) offer.Config {
	c := offer.Config{Unix: s.NBD.Unix, TCP: s.NBD.TCP, TLS: s.NBD.TLS, Clients: s.NBD.Clients, Log: log}
	for _, d := range s.Disks {
		about := fmt.Sprintf("disk %s of domain %s at checkpoint %s", d.Name, s.Domain, s.Checkpoint)
		if d.Bitmap != "" {
			about += ", with what changed since " + s.Parent
		}
		c.Exports = append(c.Exports, offer.Export{
			Name: d.Name, Description: about, Size: d.Size,
			Upstream: upstream.Config{Socket: d.Socket, Export: d.Export, Bitmap: d.Bitmap},
		})
	}
	return c
}

// untilStopped is a session without a stream.
func (n *nbdServer) untilStopped(ctx context.Context, ev *emitter) (*result, error) {
	if err := ev.emit(spec.Event{Event: spec.EventReady, NBD: n.addresses}); err != nil {
		return nil, err
	}
	<-n.ended // which the end of ctx leads to
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStopped):
		return &result{}, nil
	case cause != nil:
		return nil, cause
	}
	return nil, n.failure()
}

// failure is why the server ended, in the session's terms.
func (n *nbdServer) failure() error {
	var lost *offer.Error
	if errors.As(n.err, &lost) {
		return &export.Error{Disk: lost.Export, Err: lost.Err}
	}
	return &failure{spec.KindOther, n.err}
}

// where are the addresses at which it listens.
func (n *nbdServer) where() []string {
	if n == nil {
		return nil
	}
	return n.addresses
}

// stop ends the server and waits until it has ended.
func (n *nbdServer) stop() {
	if n == nil {
		return
	}
	select {
	case <-n.ended:
		if n.err != nil {
			n.log.Error("the NBD server ended early", "error", n.err)
		}
	default:
	}
	n.cancel()
	<-n.ended
}
