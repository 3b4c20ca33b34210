package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"vmsync/internal/deadpeer"
)

// Ports that a direct connection is offered on, if one is free: the range that
// libvirt uses for migrations, which firewalls of hypervisors let through most
// often.
const (
	firstPort = 49152
	lastPort  = 49215
)

const (
	// dialLimit bounds one try to connect: a firewall that swallows packets must
	// not hold a run up for long when there is another way.
	dialLimit = 3 * time.Second
	// handshakeLimit bounds a TLS handshake.
	handshakeLimit = 10 * time.Second
	// maxHandshakes bounds those that go on at once, most of which would be of
	// strangers.
	maxHandshakes = 32
)

// ListenDirect listens on the first of the addresses of this host that can be had,
// each without a port.
func ListenDirect(ctx context.Context, addresses []string) (*net.TCPListener, error) {
	var errs []error
	for _, addr := range addresses {
		for port := firstPort; port <= lastPort+1; port++ {
			if port > lastPort {
				port = 0 // any that is free
			}
			l, err := listenTCP(ctx, net.JoinHostPort(addr, strconv.Itoa(port)))
			if err == nil {
				return l, nil
			}
			if port == 0 || !errors.Is(err, errInUse) {
				errs = append(errs, err)
				break
			}
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("no address to listen on")
	}
	return nil, errors.Join(errs...)
}

func listenTCP(ctx context.Context, addr string) (*net.TCPListener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// DialDirect makes n connections to the first of the addresses that answers with
// the right certificate.
func DialDirect(ctx context.Context, addresses []string, config *tls.Config, n int) ([]*Conn, error) {
	var errs []error
	for _, addr := range addresses {
		conns, err := dialAll(ctx, addr, config, n)
		if err == nil {
			return conns, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, errors.New("no address to connect to")
	}
	return nil, errors.Join(errs...)
}

// dialAll makes n connections, the first before the others.
func dialAll(ctx context.Context, addr string, config *tls.Config, n int) ([]*Conn, error) {
	first, err := dialDirect(ctx, addr, config)
	if err != nil {
		return nil, err
	}
	conns, errs := make([]*Conn, n), make([]error, n)
	conns[0] = first
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() { conns[i], errs[i] = dialDirect(ctx, addr, config) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		CloseAll(conns)
		return nil, err
	}
	return conns, nil
}

func dialDirect(ctx context.Context, addr string, config *tls.Config) (*Conn, error) {
	d := net.Dialer{Timeout: dialLimit}
	sock, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c, err := handshake(ctx, sock.(*net.TCPConn), func(c net.Conn) *tls.Conn { return tls.Client(c, config) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return c, nil
}

// handshake owns the socket: it is the connection's afterwards, or closed.
func handshake(ctx context.Context, sock *net.TCPConn, role func(net.Conn) *tls.Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	err := sock.SetKeepAliveConfig(deadpeer.KeepAlive())
	if err == nil {
		var c *Conn
		if c, err = overTLS(ctx, sock, role); err == nil {
			return c, nil
		}
	}
	_ = sock.Close()
	return nil, err
}

// CloseAll closes connections; nil ones are passed over.
func CloseAll(conns []*Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}
