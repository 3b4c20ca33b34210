package ssh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
)

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }

// listen serves one connection of a unix socket.
func listen(t *testing.T, serve func(*net.UnixConn)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn.(*net.UnixConn))
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

func randomBytes(n int, seed byte) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(b)
	return b
}

func TestSocketCarriesEveryByteToItsPeer(t *testing.T) {
	_, c := connected(t)
	data := randomBytes(64<<20, 1)
	sums := make(chan [32]byte, 1)
	path := listen(t, func(conn *net.UnixConn) {
		h := sha256.New()
		_, _ = io.Copy(h, conn) // ends with the client's CloseWrite
		_, _ = conn.Write([]byte("received"))
		sums <- [32]byte(h.Sum(nil))
	})
	conn, err := c.DialUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.Copy(conn, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if string(answer) != "received" || err != nil {
		t.Fatalf("%q, %v", answer, err)
	}
	if <-sums != sha256.Sum256(data) {
		t.Error("the data is not the same")
	}
}

func TestSocketCarriesEveryByteFromItsPeer(t *testing.T) {
	_, c := connected(t)
	data := randomBytes(64<<20, 2)
	answers := make(chan string, 1)
	path := listen(t, func(conn *net.UnixConn) {
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
		answer, _ := io.ReadAll(conn)
		answers <- string(answer)
	})
	conn, err := c.DialUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := sha256.New()
	if _, err := io.Copy(h, conn); err != nil { // ends with the peer's CloseWrite
		t.Fatal(err)
	}
	if [32]byte(h.Sum(nil)) != sha256.Sum256(data) {
		t.Error("the data is not the same")
	}
	if _, err := conn.Write([]byte("received")); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := <-answers; got != "received" {
		t.Errorf("after its half-close the peer read %q", got)
	}
}

func TestLostConnectionIsNotTheEndOfAStream(t *testing.T) {
	s, c := connected(t)
	path := listen(t, func(conn *net.UnixConn) {
		_, _ = conn.Write([]byte("half of it"))
		_, _ = io.Copy(io.Discard, conn)
	})
	conn, err := c.DialUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	killAll(t, s.children(t))
	_, err = io.ReadAll(conn)
	var lost *ConnectError
	if !errors.As(err, &lost) || lost.Op != OpLost || errors.Is(err, io.EOF) {
		t.Fatalf("reading ended with %v", err)
	}
}

func TestMissingSocketIsTold(t *testing.T) {
	_, c := connected(t)
	_, err := c.DialUnix(t.Context(), "/nonexistent/socket")
	var socket *SocketError
	if !errors.As(err, &socket) || socket.Kind != SocketMissing {
		t.Fatal(err)
	}
	works(t, c)
}

func TestForbiddenForwardingIsTold(t *testing.T) {
	_, c := connected(t, "AllowStreamLocalForwarding no")
	path := listen(t, func(*net.UnixConn) {})
	_, err := c.DialUnix(t.Context(), path)
	var socket *SocketError
	if !errors.As(err, &socket) || socket.Kind == SocketMissing {
		t.Fatal(err)
	}
	if !bytes.Contains([]byte(err.Error()), []byte("AllowStreamLocalForwarding")) {
		t.Errorf("%q does not name the setting", err)
	}
	t.Log(socket.Kind, err)
}
