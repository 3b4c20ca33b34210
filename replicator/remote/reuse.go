package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"vmsync/internal/ssh"
)

const (
	// keepIdle is how long a connection that no run uses stays open.
	keepIdle = time.Minute
	// agentsPerConn is how many agents share a connection: sshd allows 10 sessions
	// unless told otherwise.
	agentsPerConn = 8
)

// Hosts reaches hosts over connections that outlive a run, so that not every run pays for
// a handshake. Each run has agents of its own all the same. The methods may be called from
// several goroutines.
//
// Agents to the same host share connections. What passes through the controller in bulk
// has one for each run, where it holds up nobody's signs of life.
type Hosts struct {
	pool *ssh.Pool
	log  io.Writer
}

// NewHosts makes it; log gets what agents log. The caller closes it, when the pairs and
// solos are closed that it has connected.
func NewHosts(log io.Writer) *Hosts { return &Hosts{pool: ssh.NewPool(keepIdle), log: log} }

// Close ends all connections.
func (h *Hosts) Close() error { return h.pool.Close() }

// Pair is [ConnectPlaces].
func (h *Hosts) Pair(ctx context.Context, source, target Place) (*Pair, error) {
	return connectPair(ctx, h.reach, source, target)
}

// Solo is [ConnectSolo].
func (h *Hosts) Solo(ctx context.Context, at Place, role Role) (*Solo, error) {
	return connectSolo(ctx, h.reach, at, role)
}

// reach opens a place for one run.
func (h *Hosts) reach(ctx context.Context, p Place) (Host, error) {
	if p.At.Local {
		return localHost{log: h.log}, nil
	}
	if p.At.TLS {
		return Reach(ctx, p.At, p.Access, h.log)
	}
	lease, err := h.lease(ctx, p, agentsPerConn)
	if err != nil {
		return nil, err
	}
	return &leasedHost{hosts: h, place: p, leases: []*ssh.Lease{lease}, log: h.log}, nil
}

func (h *Hosts) lease(ctx context.Context, p Place, shares int) (*ssh.Lease, error) {
	lease, err := h.pool.Lease(ctx, sshTarget(p.At), p.SSH, shares)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unreachable(p.At.Name, err)
	}
	return lease, nil
}

// leasedHost is a host over the connections of a pool.
type leasedHost struct {
	hosts *Hosts
	place Place
	log   io.Writer

	mu     sync.Mutex
	leases []*ssh.Lease // the first is that of the agent
	bulk   *ssh.Lease   // of the stream; nil before it is needed
}

func (h *leasedHost) over(l *ssh.Lease) *sshHost {
	return &sshHost{name: h.place.At.Name, client: l.Client(), log: h.log}
}

// Agent implements [Host]. Where the server allows fewer sessions, the agent gets a
// connection of its own.
func (h *leasedHost) Agent(ctx context.Context) (Process, error) {
	shared := h.leases[0]
	p, err := h.over(shared).Agent(ctx)
	if err == nil {
		return p, nil
	}
	if !ssh.Refused(err) {
		shared.Spend()
		return Process{}, err
	}
	own, lerr := h.add(ctx)
	if lerr != nil {
		return Process{}, errors.Join(err, lerr)
	}
	return h.over(own).Agent(ctx)
}

// add leases one more connection, which nobody else uses meanwhile.
func (h *leasedHost) add(ctx context.Context) (*ssh.Lease, error) {
	l, err := h.hosts.lease(ctx, h.place, 1)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leases = append(h.leases, l)
	return l, nil
}

func (h *leasedHost) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	return h.over(h.leases[0]).Run(ctx, args, stdin, stdout, stderr)
}

func (h *leasedHost) DialUnix(ctx context.Context, path string) (HalfCloser, error) {
	bulk, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	return h.over(bulk).DialUnix(ctx, path)
}

// stream is the connection of the run's stream.
func (h *leasedHost) stream(ctx context.Context) (*ssh.Lease, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bulk == nil {
		l, err := h.hosts.lease(ctx, h.place, 1)
		if err != nil {
			return nil, err
		}
		h.bulk, h.leases = l, append(h.leases, l)
	}
	return h.bulk, nil
}

// Close gives the connections back.
func (h *leasedHost) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.leases {
		l.Release()
	}
	return nil
}

var _ Host = (*leasedHost)(nil)
