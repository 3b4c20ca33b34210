package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"vmsync/internal/pin"
	"vmsync/nbdproxy/link"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// clientLimit is how long a session waits for its client, if its document does not say more.
const clientLimit = 60 * time.Second

// lanes checks the number of connections that a document asks for.
func lanes(n int) (int, error) {
	if n == 0 {
		n = 1
	}
	if n < 1 || n > stream.MaxLanes {
		return 0, specError(fmt.Errorf("a stream over %d connections; 1 to %d are possible", n, stream.MaxLanes))
	}
	return n, nil
}

// sendingEnds connects to the receiver if the document says where, and offers the
// stream on the unix socket otherwise.
func sendingEnds(ctx context.Context, s *spec.Serve, ev *emitter, nbd []string, log *slog.Logger) ([]*link.Conn, error) {
	n, err := lanes(s.Lanes)
	if err != nil {
		return nil, err
	}
	ready := spec.Event{Event: spec.EventReady, NBD: nbd}
	if s.Connect != nil {
		conns, err := connect(ctx, s.Connect, n)
		if err == nil {
			ready.Connected = true
			if err := ev.emit(ready); err != nil {
				link.CloseAll(conns)
				return nil, err
			}
			return conns, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		log.Info("no direct connection", "error", err)
		ready.Why = err.Error()
	}
	l, err := openSocket(ctx, s.Listen)
	if err != nil {
		return nil, err
	}
	return accept(ctx, n, clientLimit+max(s.Patience, 0), l, nil, nil, ev, ready)
}

func connect(ctx context.Context, c *spec.Connect, n int) ([]*link.Conn, error) {
	config, err := c.Identity.Client(c.Certificate)
	if err != nil {
		return nil, err
	}
	return link.DialDirect(ctx, c.Addresses, config, n)
}

// receivingEnds waits for the stream's connections on the unix socket and, if the
// document asks for it, on an address of this host.
func receivingEnds(ctx context.Context, a *spec.Apply, ev *emitter, log *slog.Logger) ([]*link.Conn, error) {
	if a.Patience < 0 {
		return nil, specError(fmt.Errorf("patience of %v", a.Patience))
	}
	n, err := lanes(a.Lanes)
	if err != nil {
		return nil, err
	}
	l, err := openSocket(ctx, a.Listen)
	if err != nil {
		return nil, err
	}
	ready := spec.Event{Event: spec.EventReady}
	var direct *net.TCPListener
	var config *tls.Config
	if a.Direct != nil {
		var own pin.Identity
		direct, config, own, err = listenDirect(ctx, a.Direct)
		if err != nil {
			log.Info("no direct connections", "error", err)
			ready.Why = err.Error()
		} else {
			ready.Address, ready.Certificate = direct.Addr().String(), own.Certificate
		}
	}
	return accept(ctx, n, clientLimit+max(a.Patience, 0), l, direct, config, ev, ready)
}

func listenDirect(ctx context.Context, d *spec.Direct) (*net.TCPListener, *tls.Config, pin.Identity, error) {
	own, err := pin.New()
	if err != nil {
		return nil, nil, own, err
	}
	config, err := own.Server(d.Certificate)
	if err != nil {
		return nil, nil, own, err
	}
	l, err := link.ListenDirect(ctx, d.Addresses)
	return l, config, own, err
}

// accept reports ready, waits for the one client up to a limit and closes the listeners, which
// turns every other one away.
func accept(ctx context.Context, n int, limit time.Duration, l *net.UnixListener, direct *net.TCPListener, config *tls.Config, ev *emitter, ready spec.Event) ([]*link.Conn, error) {
	if err := ev.emit(ready); err != nil {
		_ = l.Close()
		if direct != nil {
			_ = direct.Close()
		}
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit,
		peerError(fmt.Errorf("nobody connected to %s within %v", l.Addr(), limit)))
	defer cancel()
	conns, err := link.Accept(limited, n, l, direct, config)
	if err != nil && !errors.Is(err, context.Cause(limited)) {
		err = peerError(err)
	}
	return conns, err
}

// interrupter ends every wait on the connections, now and later.
func interrupter(conns []*link.Conn) func() {
	return func() {
		for _, c := range conns {
			c.Interrupt()
		}
	}
}
