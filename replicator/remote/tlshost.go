package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"vmsync/internal/tlslink"
	"vmsync/replicator"
)

// tlsHost is a source that is reached through its vmsync-nbdproxy.socket. Each agent, and
// each connection to the stream, is a TLS connection of its own.
type tlsHost struct {
	name   string
	dialer tlslink.Dialer

	mu      sync.Mutex
	session string // of the agent
}

var errGivenUp = errors.New("it does not answer any more, and the connection was given up")

func (h *tlsHost) Agent(ctx context.Context) (Process, error) {
	conn, reply, err := h.dialer.Dial(ctx, tlslink.Request{Purpose: tlslink.Agent})
	if err != nil {
		return Process{}, h.explain("connect to "+h.name, err)
	}
	h.mu.Lock()
	h.session = reply.Session
	h.mu.Unlock()
	out := &endOf{r: conn, ended: make(chan struct{})}
	return Process{
		Host:   h.name,
		Stdin:  closeWriter{conn},
		Stdout: out,
		Wait: func() error {
			<-out.ended
			_ = conn.NetConn().Close()
			switch {
			case errors.Is(out.err, io.EOF):
				return nil
			case errors.Is(out.err, net.ErrClosed):
				return errGivenUp
			}
			return out.err
		},
		Kill:     func() { _ = conn.NetConn().Close() },
		Warnings: h.dialer.Expiring(conn, time.Now()),
	}, nil
}

// DialUnix connects to the stream of the agent's run. There is no other socket that a
// source lets anybody at, and it knows the path itself.
func (h *tlsHost) DialUnix(ctx context.Context, _ string) (HalfCloser, error) {
	h.mu.Lock()
	session := h.session
	h.mu.Unlock()
	conn, _, err := h.dialer.Dial(ctx, tlslink.Request{Purpose: tlslink.Stream, Session: session})
	if err != nil {
		return nil, h.explain("connect to the stream on "+h.name, err)
	}
	return conn, nil
}

func (h *tlsHost) Run(context.Context, []string, io.Reader, io.Writer, io.Writer) error {
	return h.sourceOnly()
}

func (h *tlsHost) Close() error { return nil }

// sourceOnly is the error of whoever wants more of the host.
func (h *tlsHost) sourceOnly() error {
	return &replicator.Error{Kind: replicator.KindUsage, Op: "use " + h.name, Hint: "use qemu+ssh://" + h.name + "/system",
		Err: errors.New("a host that is reached over TLS can only be the source")}
}

func (h *tlsHost) explain(op string, err error) error {
	e, ok := errors.AsType[*tlslink.Error](err)
	if !ok {
		return err
	}
	return &replicator.Error{Kind: replicator.KindUnreachable, Op: op, Hint: e.Advice, Err: e}
}

// closeWriter is the stdin of an agent behind a connection.
type closeWriter struct{ *tls.Conn }

func (c closeWriter) Close() error { return c.CloseWrite() }

// endOf keeps the error with which its reader ended.
type endOf struct {
	r     io.Reader
	once  sync.Once
	err   error // once ended is closed
	ended chan struct{}
}

func (e *endOf) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		e.once.Do(func() { e.err = err; close(e.ended) })
	}
	return n, err
}
