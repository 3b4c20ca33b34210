package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/nbdproxy/spec"
)

// listen makes the unix socket, for this user only. Of what may be at its path it
// removes nothing but a socket that nobody listens on.
func listen(ctx context.Context, path string) (*net.UnixListener, error) {
	if err := clear(path); err != nil {
		return nil, specError(err)
	}
	// The mode is set on the socket before it gets its name: chmod afterwards would
	// leave a moment in which anybody can connect, and a umask is the whole process's.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmod error
		err := raw.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, &failure{spec.KindOther, fmt.Errorf("making the stream's socket: %w", err)}
	}
	return l.(*net.UnixListener), nil
}

// clear removes a stale socket.
func clear(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket; remove it or name another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("somebody listens on %s already", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether %s is in use: %w", path, err)
	}
	return os.Remove(path)
}
