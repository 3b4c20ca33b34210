package offer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"vmsync/internal/pki"
	"vmsync/nbdproxy"
	"vmsync/nbdproxy/listen"
	"vmsync/nbdproxy/upstream"
)

// door is a listener and the server that answers there: one that asks for TLS, or
// one that does not.
type door struct {
	listener net.Listener
	server   *nbdproxy.Server
}

// open listens. It returns the doors that are open with an error as well.
func open(ctx context.Context, c *Config, backends []*upstream.Backend) ([]door, error) {
	if err := c.checkAddresses(); err != nil {
		return nil, err
	}
	exports := make([]nbdproxy.Export, len(backends))
	for i, b := range backends {
		exports[i] = b.Export(c.Exports[i].Name, c.Exports[i].Description)
		exports[i].ReadOnly = !c.Exports[i].Writable
	}
	var doors []door
	add := func(t *tls.Config, listen func() (net.Listener, error)) error {
		s, err := nbdproxy.NewServer(nbdproxy.Config{Exports: exports, TLS: t, Log: c.Log})
		if err != nil {
			return err
		}
		l, err := listen()
		if err == nil {
			doors = append(doors, door{l, s})
		}
		return err
	}
	if c.Unix != "" {
		err := add(nil, func() (net.Listener, error) {
			l, err := listen.Unix(ctx, c.Unix)
			return roomy{l}, err
		})
		if err != nil {
			return doors, err
		}
	}
	if c.TCP != "" {
		t, err := c.serverTLS()
		if err != nil {
			return doors, err
		}
		if err := add(t, func() (net.Listener, error) { return listen.TCP(ctx, c.TCP, t != nil) }); err != nil {
			return doors, err
		}
	}
	return doors, nil
}

// checkAddresses finds what does not fit together.
func (c *Config) checkAddresses() error {
	switch {
	case c.Unix == "" && c.TCP == "":
		return errors.New("there is nowhere to listen: name a unix socket or a TCP address")
	case c.TCP == "" && c.TLS != "":
		return errors.New("certificates for TLS are of no use without a TCP address")
	case c.TLS == "" && len(c.Clients) > 0:
		return errors.New("clients are known by their certificates: name a folder with certificates for TLS")
	}
	return nil
}

func (c *Config) serverTLS() (*tls.Config, error) {
	if c.TLS == "" {
		return nil, nil
	}
	t, err := pki.Server(c.TLS, c.Clients)
	if err != nil {
		return nil, fmt.Errorf("certificates for TLS: %w", err)
	}
	return t, nil
}
