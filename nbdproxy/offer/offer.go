// Package offer makes exports of NBD servers available on sockets of our own: it
// connects to the servers, listens, and lets nbdproxy answer the clients.
//
// It must never listen before every export is known to be there, nor on an address
// that package listen would not allow.
package offer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"vmsync/nbdproxy/upstream"
)

// Connections to the servers.
const (
	maxConns   = 4  // for each export
	totalConns = 16 // for all, as far as each has at least one
)

// Export is one export to offer.
type Export struct {
	Name        string // under which it is offered
	Description string
	Upstream    upstream.Config
	Size        int64 // bytes that it must have; 0 if it may have any number
	// Writable lets clients write, which the server must allow. Otherwise they cannot,
	// whether the server would let them or not.
	Writable bool
}

// Config says what to offer and where: at one address at least.
type Config struct {
	Exports []Export
	Unix    string // path of a unix socket
	TCP     string // address, host:port
	// TLS is a folder with certificates, see package pki, for TCP; it is needed unless
	// the address is one of the loopback interface. Empty stands for no TLS.
	TLS string
	// Clients, if not empty, names the TLS clients that are let in.
	Clients []string
	Log     *slog.Logger
}

// Error is a server that could not be reached, was not what it was expected to be,
// or is gone.
type Error struct {
	Export string // the name under which it is offered
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("export %q: %v", e.Export, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Run connects, listens, calls ready with the addresses and serves until ctx ends,
// and returns nil then. It returns an error if ready does, if listening or an
// address fails, or once every server is gone: the loss of one is logged, and its
// clients' requests fail. Whatever it returns, everything has ended.
func Run(ctx context.Context, c Config, ready func(addresses []string) error) error {
	// The servers are cut off when ctx ends: a request to one that does not answer
	// must not hold up the end.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	backends, err := connect(ctx, &c)
	defer func() {
		for _, b := range backends {
			b.Close()
		}
	}()
	if err != nil {
		return err
	}
	doors, err := open(ctx, &c, backends)
	defer func() {
		for _, d := range doors {
			_ = d.listener.Close()
		}
	}()
	if err != nil {
		return err
	}
	addresses := make([]string, len(doors))
	for i, d := range doors {
		addresses[i] = d.listener.Addr().String()
	}
	if err := ready(addresses); err != nil {
		return err
	}
	return serve(ctx, &c, doors, backends)
}

// connect connects to all servers. It returns the backends that there are with an
// error as well.
func connect(ctx context.Context, c *Config) ([]*upstream.Backend, error) {
	var backends []*upstream.Backend
	for _, x := range c.Exports {
		x.Upstream.Conns = max(1, min(maxConns, totalConns/len(c.Exports)))
		b, err := upstream.Dial(ctx, x.Upstream)
		if err != nil {
			return backends, &Error{x.Name, err}
		}
		backends = append(backends, b)
		if size, _ := b.Size(); x.Size != 0 && size != x.Size {
			return backends, &Error{x.Name, fmt.Errorf("the server has %d bytes where %d were expected", size, x.Size)}
		}
		if x.Writable && b.Export("", "").ReadOnly {
			return backends, &Error{x.Name, errors.New("it is to be writable, and the server offers it read-only")}
		}
	}
	return backends, nil
}

// serve lets clients in until ctx ends or nothing is left to serve.
func serve(ctx context.Context, c *Config, doors []door, backends []*upstream.Backend) error {
	g, serving := errgroup.WithContext(ctx)
	for _, d := range doors {
		g.Go(func() error { return d.server.Serve(serving, d.listener) })
	}
	var left atomic.Int32
	left.Store(int32(len(backends)))
	for i, b := range backends {
		g.Go(func() error {
			select {
			case <-b.Done():
			case <-serving.Done():
				return nil
			}
			if ctx.Err() != nil {
				return nil // the end of ctx is the backend's as well
			}
			err := &Error{c.Exports[i].Name, b.Err()}
			if left.Add(-1) == 0 {
				return err
			}
			c.Log.Error("an export is lost; the others go on", "export", err.Export, "error", err.Err)
			return nil
		})
	}
	return g.Wait()
}
