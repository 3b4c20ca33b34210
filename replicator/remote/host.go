package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"vmsync/internal/hosturi"
	"vmsync/internal/ssh"
	"vmsync/internal/tlslink"
	"vmsync/replicator"
)

// Host is where an end is: it starts agents there and reaches sockets there.
// Close releases it.
type Host interface {
	// Agent starts `vmsync agent`.
	Agent(ctx context.Context) (Process, error)
	// Run runs vmsync there and waits for its end; see [sshHost.Run].
	Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error
	// DialUnix connects to a unix socket on the host: that of an agent's run.
	DialUnix(ctx context.Context, path string) (HalfCloser, error)
	Close() error
}

// Access is what reaching other hosts takes.
type Access struct {
	SSH ssh.Options
	// TLSDir is the folder with this host's client certificate; [DefaultTLSDir] if empty.
	TLSDir string
}

// DefaultTLSDir is where a host has its certificates.
const DefaultTLSDir = "/etc/vmsync/tls"

// Reach opens an endpoint.
func Reach(ctx context.Context, e hosturi.Endpoint, access Access, log io.Writer) (Host, error) {
	if e.Local {
		return localHost{log: log}, nil
	}
	if e.TLS {
		return &tlsHost{name: e.Name, dialer: tlslink.Dialer{Host: e.Host, Port: e.Port, Dir: cmp.Or(access.TLSDir, DefaultTLSDir)}}, nil
	}
	client, err := ssh.Dial(ctx, sshTarget(e), access.SSH)
	if err != nil {
		return nil, unreachable(e.Name, err)
	}
	return &sshHost{name: e.Name, client: client, log: log}, nil
}

func sshTarget(e hosturi.Endpoint) ssh.Target {
	return ssh.Target{User: e.User, Host: e.Host, Port: e.Port}
}

// unreachable is the error of a host that cannot be connected to.
func unreachable(host string, err error) error {
	problem, advice := ssh.Advice(err)
	if advice == "" {
		advice = "try: ssh " + host
	}
	return &replicator.Error{Kind: replicator.KindUnreachable, Op: "connect to " + host, Hint: advice, Err: errors.New(problem)}
}

// localHost is this host. Its agent is a child in a session of its own: a
// Ctrl-C reaches the controller alone, which then has the agent undo the run.
type localHost struct{ log io.Writer }

func (h localHost) Agent(context.Context) (Process, error) {
	self, err := os.Executable()
	if err != nil {
		return Process{}, err
	}
	cmd := exec.Command(self, "agent")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Whoever is logged in here through SSH did not reach the agent that way.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, sshConnection+"=") })
	words := &lastWords{}
	cmd.Stderr = io.MultiWriter(words, h.log)
	in, err := cmd.StdinPipe()
	if err != nil {
		return Process{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Process{}, err
	}
	if err := cmd.Start(); err != nil {
		return Process{}, err
	}
	// Wait must not close the pipe while the last reply is still in it.
	drained := make(chan struct{})
	return Process{
		Host:   "this host",
		Stdin:  in,
		Stdout: &untilEnd{r: out, end: drained},
		Wait: func() error {
			<-drained
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("vmsync agent: %w%s", err, words)
			}
			return nil
		},
		Kill: func() { _ = cmd.Process.Kill() },
	}, nil
}

func (h localHost) DialUnix(ctx context.Context, path string) (HalfCloser, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func (h localHost) Close() error { return nil }

// untilEnd closes end when its reader has reached its end.
type untilEnd struct {
	r    io.Reader
	end  chan struct{}
	once sync.Once
}

func (u *untilEnd) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil {
		u.once.Do(func() { close(u.end) })
	}
	return n, err
}

// lastWords keeps the end of what a program wrote to stderr.
type lastWords struct {
	mu  sync.Mutex
	buf []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if over := len(w.buf) - 4096; over > 0 {
		w.buf = w.buf[over:]
	}
	return len(p), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := bytes.TrimSpace(w.buf); len(b) > 0 {
		return ": " + string(b)
	}
	return ""
}

// sshHost is a host reached through SSH.
type sshHost struct {
	name   string
	client *ssh.Client
	log    io.Writer
}

func (h *sshHost) Agent(context.Context) (Process, error) {
	// The agent is to outlive the command's context: it ends with its stdin.
	p, err := h.client.Command(context.Background(), []string{"vmsync", "agent"})
	if err != nil {
		return Process{}, h.lost("start vmsync on "+h.name, err)
	}
	words := &lastWords{}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.MultiWriter(words, h.log), p.Stderr)
	}()
	return Process{
		Host:   h.name,
		Stdin:  p.Stdin,
		Stdout: p.Stdout,
		Wait: func() error {
			err := p.Wait()
			if err == nil {
				return nil
			}
			var missing *ssh.NotFoundError
			if errors.As(err, &missing) {
				return h.notInstalled(err)
			}
			select { // what it said on stderr is complete once it has been read to its end
			case <-drained:
			case <-time.After(time.Second):
			}
			return fmt.Errorf("%w%s", err, words)
		},
		Kill: func() { _ = p.Close() },
	}, nil
}

func (h *sshHost) DialUnix(ctx context.Context, path string) (HalfCloser, error) {
	conn, err := h.client.DialUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (h *sshHost) Close() error { return h.client.Close() }

func (h *sshHost) lost(op string, err error) error {
	return &replicator.Error{Kind: replicator.KindUnreachable, Op: op, Hint: "check the connection to " + h.name, Err: err}
}
