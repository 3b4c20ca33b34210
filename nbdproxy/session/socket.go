package session

import (
	"context"
	"errors"
	"net"

	"vmsync/nbdproxy/listen"
	"vmsync/nbdproxy/spec"
)

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
