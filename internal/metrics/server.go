package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Server serves figures at an address, or at none. Its methods may be called from any
// goroutine.
type Server struct {
	metrics *Metrics
	log     *slog.Logger

	mu      sync.Mutex
	address string    // as the configuration has it; empty: none
	current *listener // nil: none
}

// NewServer makes a server that does not listen yet.
func NewServer(m *Metrics, log *slog.Logger) *Server { return &Server{metrics: m, log: log} }

// Listen serves at an address from now on, and no longer at the one before; nowhere if it
// is empty. After an error all is as before.
func (s *Server) Listen(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address == s.address {
		return nil
	}
	next, err := s.open(address)
	if errors.Is(err, syscall.EADDRINUSE) && samePort(address, s.address) {
		// It may be this server that is in the way, as at 127.0.0.1:9108 of 0.0.0.0:9108.
		next, err = s.replace(address)
	}
	if err != nil {
		return refused(address, err)
	}
	s.current.close()
	s.current, s.address = next, address
	if next != nil {
		s.log.Info("metrics are served", "url", "http://"+next.addr()+"/metrics")
		if !next.loopback() {
			s.log.Warn("the metrics have no encryption and no password: everybody who reaches their address may read them", "address", next.addr())
		}
	}
	return nil
}

// replace opens an address after the present one has been given up, which is taken again
// if that fails.
func (s *Server) replace(address string) (*listener, error) {
	s.current.close()
	s.current = nil
	next, err := s.open(address)
	if err != nil {
		var again error
		if s.current, again = s.open(s.address); again != nil {
			s.address = ""
			err = errors.Join(err, again)
		}
	}
	return next, err
}

// Close ends serving. Scrapes that are under way have a moment to end.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.close()
	s.current, s.address = nil, ""
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

// refused says what to do about an address that cannot be listened on.
func refused(address string, err error) error {
	what := "correct metrics: listen in the configuration"
	switch _, port, _ := net.SplitHostPort(address); {
	case errors.Is(err, syscall.EACCES):
		what = "the service may not have ports below 1024: choose another one under metrics in the configuration"
	case errors.Is(err, syscall.EADDRINUSE):
		what = fmt.Sprintf("see who has it with: ss -ltnp 'sport = :%s'; end that, or choose another port under metrics in the configuration", port)
	}
	return fmt.Errorf("metrics: %w: %s", err, what)
}

// listener serves at one address.
type listener struct {
	net    net.Listener
	server *http.Server
	ended  chan struct{}
}

// open begins to serve at an address; nil for none.
func (s *Server) open(address string) (*listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler(s.log))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "vmsync: see /metrics")
	})
	out := &listener{net: l, ended: make(chan struct{}), server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}}
	go func() {
		defer close(out.ended)
		if err := out.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics are served no longer", "error", err)
		}
	}()
	return out, nil
}

func (l *listener) addr() string { return l.net.Addr().String() }

func (l *listener) loopback() bool {
	tcp, ok := l.net.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// lastScrapes is how long scrapes may go on that are under way when serving ends.
const lastScrapes = 3 * time.Second

// close ends serving and waits for that. A nil listener has nothing to end.
func (l *listener) close() {
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastScrapes)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close() // the connections' errors are those of scrapes that are cut off
	}
	<-l.ended
}
