package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"vmsync/nbdproxy/listen"
	"vmsync/nbdproxy/spec"
)

// clientLimit is how long a session waits for its client.
const clientLimit = 60 * time.Second

// openSocket makes the unix socket, for this user only.
func openSocket(ctx context.Context, path string) (*net.UnixListener, error) {
	l, err := listen.Unix(ctx, path)
	if errors.Is(err, listen.ErrPath) {
		return nil, specError(err)
	}
	if err != nil {
		return nil, &failure{spec.KindOther, err}
	}
	return l, nil
}

// accept reports ready, waits for the one client and closes the listener, which
// turns every other one away.
func accept(ctx context.Context, path string, ev *emitter) (*net.UnixConn, error) {
	l, err := openSocket(ctx, path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	if err := l.SetDeadline(time.Now().Add(clientLimit)); err != nil {
		return nil, err
	}
	if err := ev.emit(spec.Event{Event: spec.EventReady}); err != nil {
		return nil, err
	}
	conn, err := l.AcceptUnix()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, peerError(fmt.Errorf("nobody connected to %s within %v", path, clientLimit))
	}
	if err != nil {
		return nil, peerError(fmt.Errorf("waiting for a client: %w", err))
	}
	return conn, nil
}

// interrupter ends every wait on conn, now and later.
func interrupter(conn net.Conn) func() {
	return func() { _ = conn.SetDeadline(time.Unix(1, 0)) }
}
