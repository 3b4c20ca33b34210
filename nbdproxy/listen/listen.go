// Package listen makes the sockets on which the data plane serves clients.
//
// It must never let anybody else on the host or on the network in by default: a unix
// socket is its owner's alone from its first moment, TCP without TLS is for the
// loopback interface, and what lies at a socket's path is removed only if it is a
// socket that nobody listens on.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrPath is wrapped by errors that ask for another path for a unix socket.
var ErrPath = errors.New("cannot use this path for a socket")

// Unix makes a unix socket of mode 0600.
func Unix(ctx context.Context, path string) (*net.UnixListener, error) {
	if err := prepare(path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPath, err)
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
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// prepare makes room for a socket at path.
func prepare(path string) error {
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	// In a folder that others may write to, anybody could put a socket of theirs in
	// place of this one; not so in one with the sticky bit.
	if st.Mode().Perm()&0o022 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("others may write to the folder %s (mode %04o); use one that is private", dir, st.Mode().Perm())
	}
	return clear(path)
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
