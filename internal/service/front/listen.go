// Package front is the service's local API: HTTP with JSON over a unix socket, as
// docs/API.md describes it. Who may connect is decided by the kernel: the socket's mode,
// and the credentials of the process at its other end, root's or those of a member of the
// group that the configuration names.
//
// The package must never decide anything about machines; it passes on what is asked.
package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes the socket, with mode 0660 and the group, or 0600 where that is empty, and
// its folder where there is none. A socket that nobody serves any more is replaced.
func Listen(path, group string) (net.Listener, *Access, error) {
	access := &Access{gid: -1}
	mode := os.FileMode(0o600)
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, nil, fmt.Errorf("the group of the API's socket: %w: make it with groupadd --system %s, or correct api in the configuration", err, group)
		}
		if access.gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, nil, err
		}
		mode = 0o660
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("listen at the API's socket: %w", err)
	}
	// Until then, and afterwards as well, those who connect are asked who they are.
	err = errors.Join(os.Chown(path, -1, access.gid), os.Chmod(path, mode))
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, access, nil
}

// removeStale removes a socket that a dead service left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is in the way of the API's socket: remove it", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("another service serves %s: end it first", path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Access says who may use the API.
type Access struct{ gid int } // of the group; -1: none

// errUnknownPeer means that the kernel does not say who is at the other end.
var errUnknownPeer = errors.New("not a connection over a unix socket")

// allow is nil if the process at the other end may use the API. The service's own user may,
// who is root but in tests.
func (a *Access) allow(conn net.Conn) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return errUnknownPeer
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		peer, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if sockErr != nil {
		return sockErr
	}
	return a.judge(int(peer.Uid), int(peer.Gid), os.Geteuid(), groupsOf)
}

// judge decides by a peer's user and group, and its user's other groups.
func (a *Access) judge(uid, gid, self int, groups func(uid int) ([]string, error)) error {
	if uid == 0 || uid == self || (a.gid >= 0 && gid == a.gid) {
		return nil
	}
	denied := fmt.Errorf("user %d may not use the API: be root, or in the group that the configuration names under api", uid)
	if a.gid < 0 {
		return denied
	}
	all, err := groups(uid)
	if err != nil {
		return errors.Join(denied, err)
	}
	if !slices.Contains(all, strconv.Itoa(a.gid)) {
		return denied
	}
	return nil
}

func groupsOf(uid int) ([]string, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil, err
	}
	return u.GroupIds()
}

// peerKey is under which a connection's context has its verdict.
type peerKey struct{}

// verdict is what allow said of a connection.
type verdict struct{ err error }

// Serve serves the API until ctx ends. Then requests that are under way have a moment to
// end, and nothing is left when it returns.
func Serve(ctx context.Context, l net.Listener, access *Access, h *Handler) error {
	srv := &http.Server{
		Handler:           h.mux(),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, verdict{access.allow(c)})
		},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(last)
	if err != nil {
		err = srv.Close()
	}
	<-served // http.ErrServerClosed
	return err
}
