package pin

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
)

// shake runs a handshake between a server and a client and returns both results.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		sock, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer sock.Close()
		c := tls.Server(sock, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // the server refuses after the client's handshake
		_ = c.Close()
	}
	return <-done, err
}

func identity(t *testing.T) Identity {
	t.Helper()
	i, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func config(t *testing.T, f func(string) (*tls.Config, error), peer string) *tls.Config {
	t.Helper()
	c, err := f(peer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOnlyThePinnedPeerIsTrusted(t *testing.T) {
	a, b, stranger := identity(t), identity(t), identity(t)
	if s, c := shake(t, config(t, a.Server, b.Certificate), config(t, b.Client, a.Certificate)); s != nil || c != nil {
		t.Fatalf("server %v, client %v", s, c)
	}
	if s, _ := shake(t, config(t, a.Server, b.Certificate), config(t, stranger.Client, a.Certificate)); s == nil {
		t.Error("the server let a stranger in")
	}
	if _, c := shake(t, config(t, stranger.Server, b.Certificate), config(t, b.Client, a.Certificate)); c == nil {
		t.Error("the client took a stranger for its server")
	}
	none := config(t, b.Client, a.Certificate)
	none.Certificates = nil
	if s, _ := shake(t, config(t, a.Server, b.Certificate), none); s == nil {
		t.Error("the server let somebody without a certificate in")
	}
	old := config(t, b.Client, a.Certificate)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if s, _ := shake(t, config(t, a.Server, b.Certificate), old); s == nil {
		t.Error("the server spoke TLS 1.2")
	}
}

// TestCertificateSignedByThePeerIsNotThePeer: what the pinned key has signed is no
// more than a stranger.
func TestCertificateSignedByThePeerIsNotThePeer(t *testing.T) {
	a, b, child := identity(t), identity(t), identity(t)
	parse := func(i Identity) (*x509.Certificate, tls.Certificate) {
		pair, err := tls.X509KeyPair([]byte(i.Certificate), []byte(i.Key))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf, pair
	}
	parent, parentPair := parse(b)
	leaf, childPair := parse(child)
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, leaf.PublicKey, parentPair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	client := config(t, b.Client, a.Certificate)
	client.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: childPair.PrivateKey}}
	if s, _ := shake(t, config(t, a.Server, b.Certificate), client); s == nil || !strings.Contains(s.Error(), "announced") {
		t.Errorf("server: %v", s)
	}
}

func TestSenselessPeersAreRefused(t *testing.T) {
	a, b := identity(t), identity(t)
	for name, peer := range map[string]string{
		"nothing": "", "no PEM": "hello", "a key": b.Key, "two": a.Certificate + b.Certificate,
		"no certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
	} {
		if _, err := a.Client(peer); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := (Identity{Certificate: a.Certificate, Key: b.Key}).Server(b.Certificate); err == nil {
		t.Error("a key of another certificate was taken")
	}
}
