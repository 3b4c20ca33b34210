package ssh

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/proc"
)

// open connects to the host's SSH port, directly or by way of a jump host or a
// proxy command, which is then returned as via and must outlive the connection.
func (s *settings) open(ctx context.Context, o Options, jumpsLeft int) (conn net.Conn, via io.Closer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.connectTimeout, errTimeout(s.connectTimeout))
	defer cancel()
	fail := func(err error, hint string) (net.Conn, io.Closer, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, &ConnectError{Op: OpConnect, Host: s.name(), Err: err, Hint: hint}
	}
	switch {
	case s.proxyCommand != "":
		conn, proxy, err := startProxy(s.proxyCommand)
		if err != nil {
			return fail(fmt.Errorf("ProxyCommand: %w", err), "")
		}
		return conn, proxy, nil

	case len(s.jumps) > 0:
		if jumpsLeft == 0 {
			return fail(fmt.Errorf("more than %d jump hosts", maxJumps),
				"does a jump host's own ProxyJump lead back here?")
		}
		jump, err := s.dialJump(ctx, o, jumpsLeft)
		if err != nil {
			return fail(fmt.Errorf("by way of jump host %s: %w", s.jumps[len(s.jumps)-1].Host, err), "")
		}
		conn, err := jump.ssh.DialContext(ctx, "tcp", s.address())
		if err != nil {
			jump.Close()
			return fail(fmt.Errorf("by way of jump host %s: %w", jump.host, err),
				fmt.Sprintf("can %s reach %s, and does its sshd allow TCP forwarding?", jump.host, s.address()))
		}
		return conn, jump, nil
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, s.network, s.address())
	if err != nil {
		return fail(err, connectHint(err, s.host, s.address()))
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		setUserTimeout(tcp, orDefault(o.KeepaliveLimit, DefaultKeepaliveLimit))
	}
	return conn, nil, nil
}

// dialJump connects to the last jump host, by way of those before it. As with ssh,
// jump hosts get the configuration file, but neither user nor key of the target.
func (s *settings) dialJump(ctx context.Context, o Options, jumpsLeft int) (*Client, error) {
	o.User, o.KeyFile = "", ""
	last := len(s.jumps) - 1
	jump, err := resolve(ctx, s.jumps[last], o)
	if err != nil {
		return nil, err
	}
	if last > 0 {
		jump.jumps, jump.proxyCommand = s.jumps[:last], ""
	}
	return dial(ctx, jump, o, jumpsLeft-1)
}

// setUserTimeout has the kernel give up on data that is not acknowledged, which
// ends a write that a keepalive cannot be sent behind.
func setUserTimeout(conn *net.TCPConn, limit time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	// A kernel that refuses leaves the keepalive, which is enough.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
}

// proxyCommand is a running ProxyCommand.
type proxyCommand struct{ process *proc.Process }

// startProxy runs the user's ProxyCommand, which ssh_config(5) defines as a
// command for a shell, and connects to its stdin and stdout.
func startProxy(command string) (net.Conn, *proxyCommand, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "proxy"), os.NewFile(uintptr(fds[1]), "proxy")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, err
	}
	// Not bound to a context: it lives as long as the connection and ends with it.
	p, err := proc.Start(context.Background(), proc.Cmd{
		Argv:   []string{"/bin/sh", "-c", "exec " + command},
		Stdin:  theirs,
		Stdout: theirs,
	})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, &proxyCommand{process: p}, nil
}

func (p *proxyCommand) Close() error { return p.process.Stop(time.Second) }

// explain adds what the command had to say to the error of a failed handshake.
func (p *proxyCommand) explain(err error) error {
	_ = p.process.Stop(time.Second)
	if said := p.process.StderrTail(); said != "" {
		return fmt.Errorf("%w (ProxyCommand says: %s)", err, said)
	}
	return err
}

// watchedConn is a connection that remembers when it last heard from the peer, and
// why it can be read no more. The SSH library reports the end of a channel and the
// end of the connection alike; this tells them apart.
type watchedConn struct {
	net.Conn
	epoch     time.Time
	lastHeard atomic.Int64 // nanoseconds since epoch

	mu  sync.Mutex
	err error
}

func newWatchedConn(conn net.Conn) *watchedConn {
	return &watchedConn{Conn: conn, epoch: time.Now()}
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.lastHeard.Store(int64(time.Since(c.epoch)))
	}
	if err != nil {
		c.mu.Lock()
		if c.err == nil {
			c.err = err
		}
		c.mu.Unlock()
	}
	return n, err
}

// silence is how long nothing has come from the peer.
func (c *watchedConn) silence() time.Duration {
	return time.Since(c.epoch) - time.Duration(c.lastHeard.Load())
}

// readError returns what ended reading; nil while it has not ended.
func (c *watchedConn) readError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
