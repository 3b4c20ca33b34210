package remote

import (
	"context"
	"errors"
	"io"

	"vmsync/internal/hosturi"
	"vmsync/replicator"
)

// Solo is one end, connected, for a run whose other end is a pipe or a file.
type Solo struct {
	host Host
	conn *Conn
}

// ConnectSolo reaches a host and starts an agent there. The caller closes the solo,
// which has the end undo what it has not finished.
func ConnectSolo(ctx context.Context, at hosturi.Endpoint, role Role, access Access, log io.Writer) (*Solo, error) {
	return connectSolo(ctx, reachAnew(log), Place{at, access}, role)
}

func connectSolo(ctx context.Context, reach reacher, at Place, role Role) (*Solo, error) {
	host, conn, err := connect(ctx, reach, at, role)
	if err != nil {
		if host != nil {
			err = errors.Join(err, host.Close())
		}
		return nil, err
	}
	return &Solo{host: host, conn: conn}, nil
}

// Source is the end of a solo that was connected as RoleSource.
func (s *Solo) Source() replicator.SourceEnd { return Source{s.conn} }

// Target is the end of a solo that was connected as RoleTarget.
func (s *Solo) Target() replicator.TargetEnd { return Target{s.conn} }

// Gone is closed when the agent has ended, or was given up for being silent. The solo is
// to be closed all the same.
func (s *Solo) Gone() <-chan struct{} { return s.conn.Gone() }

// Deliver implements [replicator.Deliver] into an outlet.
func (s *Solo) Deliver(ctx context.Context, socket string, to *Outlet) (int64, error) {
	conn, err := s.dial(ctx, socket)
	if err != nil {
		return 0, err
	}
	return to.take(ctx, conn)
}

// Feed implements [replicator.Feed] from an inlet.
func (s *Solo) Feed(ctx context.Context, socket string, from *Inlet) error {
	conn, err := s.dial(ctx, socket)
	if err != nil {
		return err
	}
	return from.give(ctx, conn)
}

func (s *Solo) dial(ctx context.Context, socket string) (HalfCloser, error) {
	conn, err := s.host.DialUnix(ctx, socket)
	if err != nil {
		return nil, &replicator.Error{Kind: replicator.KindPeer, Op: "connect to the stream's socket", Err: err}
	}
	return conn, nil
}

// Close has the end undo what it has not finished, and disconnects.
func (s *Solo) Close() error { return errors.Join(s.conn.Close(), s.host.Close()) }
