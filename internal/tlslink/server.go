package tlslink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"vmsync/internal/deadpeer"
	"vmsync/internal/pki"
)

// ClientsFile is the file, beside the certificates, that names the clients which are
// let in; see [pki.ReadClients].
const ClientsFile = "clients"

// Server accepts connections and finds out who wants what.
type Server struct {
	// Dir is the folder with the authority's and the server's certificate, the server's key
	// and the list of clients, see [pki.Server]. They are read for each connection.
	Dir string
	// Handle gets each connection of a client that is let in, in a goroutine of its own. It
	// answers with [Peer.Reply] before anything else, and closes the connection.
	Handle func(context.Context, *Peer)
	Log    *slog.Logger
}

// Peer is a client that is let in, and its connection.
type Peer struct {
	Conn        *tls.Conn
	Certificate *x509.Certificate
	From        netip.Addr // as this host sees it
	Machines    []string   // which machines it gets, as in [pki.Listed]
	Request     Request
}

// Name is the client's, for people.
func (p *Peer) Name() string { return p.Certificate.Subject.CommonName }

// Reply answers the client.
func (p *Peer) Reply(r Reply) error {
	if err := p.Conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := writeLine(p.Conn, r); err != nil {
		return err
	}
	return p.Conn.SetWriteDeadline(time.Time{})
}

// Check says what is wrong with the files in Dir; also, with an error, that nobody is on
// the list.
func (s *Server) Check() error {
	if _, err := pki.Server(s.Dir, nil); err != nil {
		return err
	}
	list := filepath.Join(s.Dir, ClientsFile)
	clients, err := pki.ReadClients(list)
	if err == nil && len(clients) == 0 {
		err = fmt.Errorf("nobody is let in: %s names no client", list)
	}
	return err
}

// Serve serves the listeners, which it closes, until ctx ends and every Handle has
// returned; or until one of them fails for good.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unknown := &strangers{bound: maxStrangers}
	var running sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		running.Go(func() { failed <- s.accept(ctx, l, unknown, &running) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	for _, l := range listeners {
		_ = l.Close()
	}
	running.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, unknown *strangers, running *sync.WaitGroup) error {
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // too many files are open, for one
			s.Log.Error("cannot accept a connection", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		from := address(conn.RemoteAddr())
		if !unknown.enter(from) {
			s.Log.Warn("connection refused: too many from there, or in all, that have not said who they are", "from", from)
			_ = conn.Close()
			continue
		}
		running.Go(func() { s.serve(ctx, conn, from, func() { unknown.leave(from) }) })
	}
}

// serve finds out who a connection is from and what for. Known is called as soon as that
// is clear, whether the client is let in or not.
func (s *Server) serve(ctx context.Context, conn net.Conn, from netip.Addr, known func()) {
	known = sync.OnceFunc(known)
	defer known()
	peer, err := s.meet(ctx, conn, from)
	if err != nil {
		s.Log.Warn("client refused", "from", from, "reason", reason(err))
		_ = conn.Close()
		return
	}
	known()
	s.Handle(ctx, peer)
}

// meet shakes hands, looks the client up in the list and reads what it wants.
func (s *Server) meet(ctx context.Context, raw net.Conn, from netip.Addr) (*Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T", raw)
	}
	if err := tcp.SetKeepAliveConfig(deadpeer.KeepAlive()); err != nil {
		return nil, err
	}
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	watched, err := deadpeer.Cut(tcp)
	if err != nil {
		return nil, err
	}
	conn := tls.Server(watched, config)
	p, err := s.recognize(ctx, conn, from)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return p, nil
}

// config reads the certificates as they are now.
func (s *Server) config() (*tls.Config, error) {
	config, err := pki.Server(s.Dir, nil) // the list is looked at when the client can be told
	if err != nil {
		return nil, err
	}
	config.GetConfigForClient = nil
	config.NextProtos = []string{alpn}
	config.SessionTicketsDisabled = true
	config.DynamicRecordSizingDisabled = true
	return config, nil
}

func (s *Server) recognize(ctx context.Context, conn *tls.Conn, from netip.Addr) (*Peer, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol != alpn {
		return nil, errors.New("it does not speak the protocol " + alpn)
	}
	p := &Peer{Conn: conn, Certificate: conn.ConnectionState().PeerCertificates[0], From: from}
	clients, err := pki.ReadClients(filepath.Join(s.Dir, ClientsFile))
	if err != nil {
		return nil, err
	}
	// What it wants is read in any case: else it would not read why it does not get it.
	if err := readLine(conn, &p.Request); err != nil {
		return nil, fmt.Errorf("%s: %w", pki.Describe(p.Certificate), err)
	}
	listed := false
	if p.Machines, listed = clients.Find(p.Certificate); !listed {
		_ = p.Reply(Reply{Refused: fmt.Sprintf("%q is none of its clients: on that host, add it to %s", p.Name(), filepath.Join(s.Dir, ClientsFile))})
		return nil, fmt.Errorf("the certificate of %s is valid, but %s does not name it", pki.Describe(p.Certificate), filepath.Join(s.Dir, ClientsFile))
	}
	return p, nil
}

// reason tells why a client was refused, and with which certificate it came.
func reason(err error) error {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(e.UnverifiedCertificates) > 0 {
		return fmt.Errorf("the certificate of %s: %w", pki.Describe(e.UnverifiedCertificates[0]), e.Err)
	}
	return err
}

// address is that of a TCP connection's end.
func address(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}
