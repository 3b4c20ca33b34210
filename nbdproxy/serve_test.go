package nbdproxy

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// served is a server that answers on a unix socket until the test ends.
type served struct {
	*Server
	socket string
	stop   func()     // ends Serve's context
	done   chan error // what Serve returned
}

// serve starts a server.
func serve(t testing.TB, c Config) *served {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.Limits.HandshakeTime == 0 {
		c.Limits.HandshakeTime = time.Hour // no test is to pass because of it
	}
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	v := &served{Server: s, socket: filepath.Join(t.TempDir(), "nbd.sock"), done: make(chan error, 1)}
	l, err := net.Listen("unix", v.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	go func() { v.done <- s.Serve(ctx, l); close(v.done) }()
	t.Cleanup(func() {
		cancel()
		for err := range v.done {
			if err != nil {
				t.Errorf("Serve returned %v", err)
			}
		}
	})
	return v
}

// serveDisk serves one writable export, named vda.
func serveDisk(t testing.TB, b Backend) *served {
	t.Helper()
	return serve(t, Config{Exports: []Export{{Name: "vda", Backend: b}}})
}

// dial connects to the server.
func (v *served) dial(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("unix", v.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn}
}

// waitFor waits for something that the server does in its own time.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
