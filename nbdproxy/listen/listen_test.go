package listen_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/nbdproxy/listen"
)

// dir is a private folder with a short path: unix sockets have to fit into it.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "vml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(dir(t), "s")
	l, err := listen.Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", st.Mode(), err)
	}
	_ = l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestSocketNeedsAFolderThatOthersCannotWriteTo(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o700, true}, {0o755, true}, {0o777 | os.ModeSticky, true}, {0o777, false}, {0o770, false}} {
		d := dir(t)
		if err := os.Chmod(d, c.mode); err != nil {
			t.Fatal(err)
		}
		l, err := listen.Unix(t.Context(), filepath.Join(d, "s"))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, listen.ErrPath) {
			t.Errorf("folder of mode %v: %v", c.mode, err)
		}
		if err == nil {
			_ = l.Close()
		}
	}
	if _, err := listen.Unix(t.Context(), filepath.Join(dir(t), "missing", "s")); !errors.Is(err, listen.ErrPath) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestOnlyAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(dir(t), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Unix(t.Context(), path); !errors.Is(err, listen.ErrPath) {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	_ = os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Unix(t.Context(), path); !errors.Is(err, listen.ErrPath) {
		t.Errorf("a socket in use: %v", err)
	}
	other.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = other.Close()
	l, err := listen.Unix(t.Context(), path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = l.Close()
}

func TestPlaintextStaysOnTheHost(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		l, err := listen.TCP(t.Context(), address, false)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s without TLS was allowed", address)
		} else if !strings.Contains(err.Error(), "server-cert.pem") {
			t.Errorf("%s: the error does not say what to do: %v", address, err)
		}
	}
	for address, secure := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "localhost:0": false, "0.0.0.0:0": true} {
		l, err := listen.TCP(t.Context(), address, secure)
		if err != nil {
			t.Errorf("%s, TLS %v: %v", address, secure, err)
			continue
		}
		_ = l.Close()
	}
}

func TestConnectionsFromTheNetworkAreWatched(t *testing.T) {
	l, err := listen.TCP(t.Context(), "0.0.0.0:0", true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	client, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, plain := c.(*net.TCPConn); plain {
		t.Error("the connection is not watched")
	}
}
