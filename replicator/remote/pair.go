package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"vmsync/internal/hosturi"
	"vmsync/replicator"
)

// Pair is the two ends of one replication, connected.
type Pair struct {
	Source replicator.SourceEnd
	Target replicator.TargetEnd

	sourceHost, targetHost Host
	conns                  []*Conn
}

// Place is a host, and how it is reached.
type Place struct {
	At hosturi.Endpoint
	Access
}

// ConnectPair is [ConnectPlaces] with the same access to both hosts.
func ConnectPair(ctx context.Context, source, target hosturi.Endpoint, access Access, log io.Writer) (*Pair, error) {
	return ConnectPlaces(ctx, Place{source, access}, Place{target, access}, log)
}

// ConnectPlaces reaches both hosts and starts an agent on each. The caller closes
// the pair, which has both ends undo what they have not finished.
func ConnectPlaces(ctx context.Context, source, target Place, log io.Writer) (*Pair, error) {
	return connectPair(ctx, reachAnew(log), source, target)
}

func connectPair(ctx context.Context, reach reacher, source, target Place) (*Pair, error) {
	p := &Pair{}
	var sourceConn, targetConn *Conn
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		p.sourceHost, sourceConn, err = connect(gctx, reach, source, RoleSource)
		return err
	})
	g.Go(func() (err error) {
		p.targetHost, targetConn, err = connect(gctx, reach, target, RoleTarget)
		return err
	})
	err := g.Wait()
	for _, c := range []*Conn{sourceConn, targetConn} {
		if c != nil {
			p.conns = append(p.conns, c)
		}
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.Source, p.Target = Source{sourceConn}, Target{targetConn}
	return p, nil
}

// reacher opens a place.
type reacher func(ctx context.Context, p Place) (Host, error)

// reachAnew is a reacher whose connections live as long as the host that it returns.
func reachAnew(log io.Writer) reacher {
	return func(ctx context.Context, p Place) (Host, error) { return Reach(ctx, p.At, p.Access, log) }
}

// connect starts an agent at a place. A host that is returned with an error is to be closed.
func connect(ctx context.Context, reach reacher, p Place, role Role) (Host, *Conn, error) {
	host, err := reach(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if h, ok := host.(*tlsHost); ok && role != RoleSource {
		return host, nil, h.sourceOnly()
	}
	process, err := host.Agent(ctx)
	if err != nil {
		return host, nil, err
	}
	conn, err := Connect(ctx, process, role)
	return host, conn, err
}

// Relay implements replicator.Relay between the pair's hosts.
func (p *Pair) Relay(ctx context.Context, sourceSocket, targetSocket string, lanes int) error {
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for i := range lanes {
		wg.Go(func() { errs[i] = p.relayLane(ctx, sourceSocket, targetSocket) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Pair) relayLane(ctx context.Context, sourceSocket, targetSocket string) error {
	a, err := p.sourceHost.DialUnix(ctx, sourceSocket)
	if err != nil {
		return &replicator.Error{Kind: replicator.KindPeer, Op: "connect to the stream on the source", Err: err}
	}
	b, err := p.targetHost.DialUnix(ctx, targetSocket)
	if err != nil {
		a.Close()
		return &replicator.Error{Kind: replicator.KindPeer, Op: "connect to the stream on the target", Err: err}
	}
	return Relay(ctx, a, b)
}

// Close has both ends undo what they have not finished, and disconnects.
func (p *Pair) Close() error {
	var g errgroup.Group // one error is not to stop the other's closing
	errs := make([]error, len(p.conns))
	for i, c := range p.conns {
		g.Go(func() error { errs[i] = c.Close(); return nil })
	}
	_ = g.Wait()
	for _, h := range []Host{p.sourceHost, p.targetHost} {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}
