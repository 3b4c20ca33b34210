// Package ssh makes SSH connections the way an administrator expects of `ssh`:
// with the user's configuration, keys, agent, known hosts and jump hosts; and
// runs programs and reaches unix sockets through them.
//
// It differs from `ssh` where a program without a person in front of it must: it
// never asks anything, never accepts a host key that is not known already
// (whatever StrictHostKeyChecking says), and offers public keys only.
// Configuration keywords it does not know are ignored, among them those for
// forwardings, algorithms, passwords and multiplexing.
//
// A [Client] and what it makes may be used from several goroutines. The package
// must never write to a known_hosts file, never build a remote command other than
// with [Quote], and knows nothing of what travels through its connections.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Defaults of the zero Options.
const (
	DefaultKeepalive      = 5 * time.Second
	DefaultKeepaliveLimit = 25 * time.Second
	// DefaultConnectTimeout bounds connecting where ConnectTimeout does not; the
	// handshake that follows gets as long again, but at least this long.
	DefaultConnectTimeout = 15 * time.Second
)

// Target names a host as the user named it.
type Target struct {
	Host string // name, alias of the ssh configuration, or address; IPv6 with or without brackets
	Port int    // 0: from the configuration, else 22
	User string // empty: Options.User, else from the configuration, else the current user
}

// Options are the settings a user can give to every connection of a run.
type Options struct {
	User string // --ssh-user; Target.User wins
	// KeyFile (--ssh-key) is a private key offered before any other. It not being
	// usable is an error.
	KeyFile string
	// ConfigFile (--ssh-config) is read instead of ~/.ssh/config and
	// /etc/ssh/ssh_config, as with ssh -F; "none" reads none.
	ConfigFile string
	// KnownHostsFile is read instead of the files that the configuration names.
	KnownHostsFile string

	// Keepalive is how long the peer may be silent before it is asked for a sign of
	// life; KeepaliveLimit is how long before the connection is given up. Zero means
	// the defaults.
	Keepalive, KeepaliveLimit time.Duration

	home string // instead of the current user's, in tests
}

// maxJumps bounds a chain of jump hosts, which a configuration can make endless.
const maxJumps = 8

// Client is a connection to one host. The caller must Close it.
type Client struct {
	host string // for messages
	ssh  *ssh.Client
	conn *watchedConn
	via  io.Closer // the jump host's Client or the proxy command

	tasks sync.WaitGroup
	done  chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	cause   error // why the connection was given up from this side
	closing bool  // Close was called: no new tasks
}

// Dial connects to a host. The connection does not depend on ctx once it is made.
// The error is a *ConfigError, *HostKeyError, *KeyError or *ConnectError; with
// jump hosts it may wrap another.
func Dial(ctx context.Context, t Target, o Options) (*Client, error) {
	s, err := resolve(ctx, t, o)
	if err != nil {
		return nil, err
	}
	return dial(ctx, s, o, maxJumps)
}

func dial(ctx context.Context, s *settings, o Options, jumpsLeft int) (*Client, error) {
	ids, err := gatherIdentities(ctx, s, o.KeyFile)
	if err != nil {
		return nil, err
	}
	defer ids.close()
	keys, err := openHostKeys(s)
	if err != nil {
		return nil, err
	}
	conn, via, err := s.open(ctx, o, jumpsLeft)
	if err != nil {
		return nil, err
	}
	c := &Client{
		host: s.name(),
		conn: newWatchedConn(conn),
		via:  via,
		done: make(chan struct{}),
	}
	if err := c.handshake(ctx, s, ids, keys); err != nil {
		c.conn.Close()
		closeVia(via)
		return nil, err
	}
	c.tasks.Go(func() {
		_ = c.ssh.Wait() // Err tells why, in the words of this package
		close(c.done)
	})
	c.startKeepalive(orDefault(o.Keepalive, DefaultKeepalive), orDefault(o.KeepaliveLimit, DefaultKeepaliveLimit))
	return c, nil
}

// handshake agrees on keys, checks the host's and offers the user's.
func (c *Client) handshake(ctx context.Context, s *settings, ids *identities, keys *hostKeys) error {
	limit := max(s.connectTimeout, DefaultConnectTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout(limit))
	defer cancel()
	// Neither a channel of a jump host nor the agent knows deadlines; closing
	// unblocks both.
	stop := context.AfterFunc(ctx, func() {
		c.conn.Close()
		ids.close()
	})
	sshConn, chans, reqs, err := ssh.NewClientConn(c.conn, s.address(), &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers()},
		User:              s.user,
		Auth:              ids.methods(),
		HostKeyCallback:   keys.check,
		HostKeyAlgorithms: keys.algorithms(),
		ClientVersion:     "SSH-2.0-vmsync",
	})
	if !stop() && err == nil {
		sshConn.Close()
		err = context.Cause(ctx)
	}
	if err == nil {
		c.ssh = ssh.NewClient(sshConn, chans, reqs)
		return nil
	}
	if ctx.Err() != nil {
		return &ConnectError{Op: OpHandshake, Host: c.host, Err: context.Cause(ctx)}
	}
	if hostKeyErr := (*HostKeyError)(nil); errors.As(err, &hostKeyErr) {
		return hostKeyErr
	}
	readErr := c.conn.readError()
	broke := errors.Is(err, io.EOF) ||
		readErr != nil && readErr != io.EOF && !errors.Is(readErr, net.ErrClosed)
	if !keys.accepted() || broke {
		if proxy, ok := c.via.(*proxyCommand); ok {
			err = proxy.explain(err)
		}
		return &ConnectError{Op: OpHandshake, Host: c.host, Err: err,
			Hint: fmt.Sprintf("does an SSH server answer at %s, and what does its log say?", s.address())}
	}
	return ids.explain(s, c.host, err)
}

// ciphers prefers AES-GCM, which has hardware behind it on any hypervisor.
func ciphers() []string {
	return []string{
		ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
		ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
	}
}

// Host returns the host as the user named it, for messages.
func (c *Client) Host() string { return c.host }

// Done is closed when the connection has ended, for whatever reason.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err tells why the connection is unusable: nil while it is not known to be, a
// *ConnectError with OpLost if it broke, or one that wraps net.ErrClosed after
// Close.
func (c *Client) Err() error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause == nil {
		cause = c.conn.readError()
	}
	if cause == nil {
		return nil
	}
	if jump, ok := c.via.(*Client); ok && !errors.Is(cause, net.ErrClosed) {
		if lost := jump.Err(); lost != nil {
			cause = lost
		}
	}
	if cause == io.EOF {
		cause = errPeerClosed
	}
	return &ConnectError{Op: OpLost, Host: c.host, Err: cause}
}

// giveUp closes the connection from this side for a reason that Err then tells.
func (c *Client) giveUp(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	c.conn.Close()
}

// Close ends the connection with everything that runs through it, and the jump
// hosts' connections behind it. Remote programs see their stdin end.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	c.giveUp(errClosed)
	c.tasks.Wait()
	if first {
		closeVia(c.via)
	}
	return nil
}

// task runs f in a goroutine that Close waits for; false if Close was called.
func (c *Client) task(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.tasks.Go(f)
	return true
}

func closeVia(via io.Closer) {
	if via != nil {
		via.Close()
	}
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
