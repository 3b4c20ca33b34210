package lab

import (
	"context"
	"net"
)

// Dial connects from inside the host's network to an address with a numeric IP,
// for a test that wants to be a client on that host.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := withNetNS(hostFile(h.lab.name, h.name, "net"), func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens inside the host's network on an address with a numeric IP.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	err := withNetNS(hostFile(h.lab.name, h.name, "net"), func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, network, address)
		return err
	})
	return l, err
}
