// Package gate is what a standing listener gives a controller whom it knows by a
// certificate, and who would have come through SSH otherwise: an agent of this host that
// is a source and nothing else, and the stream of that agent's run.
//
// It must never connect a client with anything whose name the client chose: an agent is
// started by a fixed command, in a process of its own, and a stream is that of the agent
// which the same client started. It parses nothing that passes.
package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vmsync/internal/tlslink"
	"vmsync/internal/workdir"
	"vmsync/replicator/remote"
)

// How many agents there may be, in all and for one client, and how many connections may
// carry one agent's stream.
const (
	maxAgents          = 64
	maxAgentsOfAClient = 32
	maxLanes           = 8
)

// Gate keeps agents for clients. Its methods may be called from several goroutines.
type Gate struct {
	command func(Agent) []string
	log     *slog.Logger
	work    *workdir.Dir

	mu       sync.Mutex
	sessions map[string]*session
}

// session is an agent and what belongs to it.
type session struct {
	client string // the certificate, as it is
	folder string
	ctx    context.Context // ends with the agent
	lanes  int             // guarded by Gate.mu
}

// socketName is that of the stream's socket in a session's folder.
const socketName = "stream.sock"

// Agent is what an agent is started with.
type Agent struct {
	From         netip.Addr // the client's, as this host sees it
	Machines     []string   // which machines the client gets, as in [tlslink.Peer]
	StreamFolder string     // for the socket of its run's stream
}

// New makes a gate. Command is the command line of an agent. The caller closes the gate when the last
// Handle has returned.
func New(command func(Agent) []string, log *slog.Logger) (*Gate, error) {
	work, err := workdir.Make("vmsync-gate")
	if err != nil {
		return nil, err
	}
	return &Gate{command: command, log: log, work: work, sessions: map[string]*session{}}, nil
}

// Close removes the gate's folder.
func (g *Gate) Close() error { return g.work.Remove() }

// Agents is how many agents there are now.
func (g *Gate) Agents() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions)
}

// Handle serves one connection to its end, which ctx's end brings about: it is what
// [tlslink.Server] calls.
func (g *Gate) Handle(ctx context.Context, p *tlslink.Peer) {
	defer p.Conn.Close()
	log := g.log.With("client", p.Name(), "from", p.From)
	var err error
	switch p.Request.Purpose {
	case tlslink.Agent:
		err = g.agent(ctx, p, log)
	case tlslink.Stream:
		err = g.stream(ctx, p)
	default:
		err = refusal(fmt.Sprintf("nobody knows what %q is", p.Request.Purpose))
	}
	if refused, ok := errors.AsType[refusal](err); ok {
		_ = p.Reply(tlslink.Reply{Refused: string(refused)})
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("connection failed", "for", string(p.Request.Purpose), "error", err)
	}
}

// refusal is an error that the client is told of.
type refusal string

func (r refusal) Error() string { return string(r) }

// open begins a session.
func (g *Gate) open(ctx context.Context, client string) (id string, s *session, end func(), err error) {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	id = hex.EncodeToString(b)
	s = &session{client: client, folder: filepath.Join(g.work.Path, id[:8])}
	g.mu.Lock()
	defer g.mu.Unlock()
	same := 0
	for _, other := range g.sessions {
		if other.client == client {
			same++
		}
		if other.folder == s.folder {
			return "", nil, nil, errors.New("two sessions of one name")
		}
	}
	if len(g.sessions) >= maxAgents || same >= maxAgentsOfAClient {
		return "", nil, nil, refusal(fmt.Sprintf("%d agents run for clients there, %d of them for this one: no more are allowed", len(g.sessions), same))
	}
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		return "", nil, nil, err
	}
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(ctx)
	g.sessions[id] = s
	return id, s, func() {
		cancel()
		g.mu.Lock()
		delete(g.sessions, id)
		g.mu.Unlock()
		if err := os.RemoveAll(s.folder); err != nil {
			g.log.Error("cannot remove a session's folder", "error", err)
		}
	}, nil
}

// stream connects a client with the stream of the run of its agent.
func (g *Gate) stream(ctx context.Context, p *tlslink.Peer) error {
	s, leave, err := g.lane(p)
	if err != nil {
		return err
	}
	defer leave()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	socket, err := dialer.DialContext(s.ctx, "unix", filepath.Join(s.folder, socketName))
	if err != nil {
		g.log.Warn("no stream", "client", p.Name(), "error", err)
		return refusal("the agent's run offers no stream")
	}
	if err := p.Reply(tlslink.Reply{}); err != nil {
		return errors.Join(err, socket.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	if err := remote.Relay(s.ctx, p.Conn, socket.(*net.UnixConn)); err != nil && s.ctx.Err() == nil {
		return err
	}
	return nil
}

// lane finds a client's session and takes one of its lanes.
func (g *Gate) lane(p *tlslink.Peer) (_ *session, leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sessions[p.Request.Session]
	if s == nil || s.client != string(p.Certificate.Raw) {
		return nil, nil, refusal("no agent of this client has this name")
	}
	if s.lanes >= maxLanes {
		return nil, nil, refusal(fmt.Sprintf("a stream has no more than %d connections", maxLanes))
	}
	s.lanes++
	return s, func() {
		g.mu.Lock()
		s.lanes--
		g.mu.Unlock()
	}, nil
}
