package listen

import (
	"context"
	"fmt"
	"net"

	"vmsync/internal/deadpeer"
)

// TCP listens on an address, host:port. Unless the listener will serve clients over
// TLS alone (secure), the address must be one of the loopback interface. The
// listener's connections notice a peer that is gone.
func TCP(ctx context.Context, address string, secure bool) (net.Listener, error) {
	// Resolved once, so that what is checked is what is used.
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening address %q: %w", address, err)
	}
	if !secure && !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("refusing to listen on %s without TLS, where others could read the disks: "+
			"name a folder with server-cert.pem, server-key.pem and ca-cert.pem, or listen on 127.0.0.1, [::1] or a unix socket", address)
	}
	lc := net.ListenConfig{KeepAliveConfig: deadpeer.KeepAlive()}
	l, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	if addr.IP.IsLoopback() {
		return l, nil // the kernel knows itself when such a peer is gone
	}
	return watching{l}, nil
}

// watching watches the connections that it accepts.
type watching struct{ net.Listener }

func (l watching) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w, err := deadpeer.Cut(c.(*net.TCPConn))
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return w, nil
}
