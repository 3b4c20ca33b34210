package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// Conn is a connection to a unix socket on the host. Deadlines are not supported.
// Close the Client to unblock a Read that a stuck peer keeps waiting. Its Read
// returns io.EOF only for the end of the stream; the end of the SSH connection is
// a *ConnectError.
type Conn interface {
	net.Conn
	// CloseWrite ends the stream in one direction: the peer reads an end of file and
	// can still answer.
	CloseWrite() error
}

// DialUnix connects to a unix socket on the host. The error is a *SocketError
// unless the connection itself broke.
func (c *Client) DialUnix(ctx context.Context, path string) (Conn, error) {
	conn, err := await(ctx,
		func() (net.Conn, error) { return c.ssh.Dial("unix", path) },
		func(conn net.Conn) { conn.Close() })
	if err == nil {
		half, ok := conn.(Conn)
		if !ok {
			conn.Close()
			return nil, fmt.Errorf("ssh: connections of type %T cannot be half-closed", conn)
		}
		return &channelConn{Conn: half, client: c}, nil
	}
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return nil, c.explain("connect to "+path, err)
	}
	return nil, &SocketError{Host: c.host, Path: path, Kind: c.whyRefused(ctx, path, refused.Reason), Err: err}
}

// whyRefused finds out what sshd does not tell: it gives the same answer for a
// socket that is not there and for forwarding that is forbidden.
func (c *Client) whyRefused(ctx context.Context, path string, reason ssh.RejectionReason) SocketErrorKind {
	if reason == ssh.Prohibited {
		return SocketForbidden
	}
	p, err := c.Command(ctx, []string{"test", "-S", path})
	if err != nil {
		return SocketRefused
	}
	defer p.Close()
	var exit *ExitError
	switch err := p.Wait(); {
	case err == nil:
		return SocketRefused
	case errors.As(err, &exit) && exit.Status == 1:
		return SocketMissing
	}
	return SocketRefused
}

// SocketErrorKind says why a unix socket on the host cannot be reached.
type SocketErrorKind string

// Why a unix socket cannot be reached.
const (
	SocketMissing   SocketErrorKind = "missing"   // there is no socket at this path
	SocketRefused   SocketErrorKind = "refused"   // it exists; nobody listens, or sshd forbids forwarding to it
	SocketForbidden SocketErrorKind = "forbidden" // sshd says that it forbids forwarding
)

// SocketError is a unix socket on the host that cannot be reached.
type SocketError struct {
	Host string
	Path string
	Kind SocketErrorKind
	Err  error
}

func (e *SocketError) Error() string {
	const allow = "allow it with AllowStreamLocalForwarding yes (and without DisableForwarding) in sshd_config there"
	what := fmt.Sprintf("cannot connect to the unix socket %s on %s", e.Path, e.Host)
	switch e.Kind {
	case SocketMissing:
		return what + ": there is no such socket"
	case SocketForbidden:
		return what + ": its sshd forbids forwarding: " + allow
	}
	return what + ": either nobody listens on it, or sshd forbids forwarding; if the latter, " + allow
}

func (e *SocketError) Unwrap() error { return e.Err }

// channelConn tells the end of a stream from the end of the connection.
type channelConn struct {
	Conn
	client *Client
}

func (c *channelConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		if lost := c.client.Err(); lost != nil {
			return n, lost
		}
	}
	return n, err
}

func (c *channelConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		if lost := c.client.Err(); lost != nil {
			return n, lost
		}
	}
	return n, err
}
