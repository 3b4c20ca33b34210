package tlslink

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vmsync/internal/pki"
)

// world is a server on loopback that greets whom it lets in, and the folders of its files.
type world struct {
	t              *testing.T
	ca, server, me string // folders: the authority's, the server's, the client's
	address        string
	port           int
	log            *logged
	handled        chan *Peer
}

// logged is a log that can be looked into.
type logged struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// newWorld serves clients as the list says.
func newWorld(t *testing.T, clients string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, ca: filepath.Join(dir, "ca"), server: filepath.Join(dir, "server"), me: filepath.Join(dir, "me"),
		log: &logged{}, handled: make(chan *Peer, 100)}
	if err := pki.NewAuthority(w.ca, "test authority"); err != nil {
		t.Fatal(err)
	}
	w.issue(pki.Leaf{Name: "localhost", Server: true, Lifetime: time.Hour}, w.server)
	w.issue(pki.Leaf{Name: "hostb", Lifetime: time.Hour}, w.me)
	w.let(clients)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address, w.port = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	s := &Server{Dir: w.server, Log: slog.New(slog.NewTextHandler(w.log, nil)), Handle: func(_ context.Context, p *Peer) {
		defer p.Conn.Close()
		w.handled <- p
		if p.Reply(Reply{Session: "s"}) == nil {
			_, _ = io.Copy(p.Conn, p.Conn)
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) issue(leaf pki.Leaf, to string) {
	w.t.Helper()
	if err := pki.Issue(w.ca, leaf, to); err != nil {
		w.t.Fatal(err)
	}
}

// let writes the list of clients.
func (w *world) let(clients string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.server, ClientsFile), []byte(clients), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) dialer() Dialer { return Dialer{Host: "localhost", Port: w.port, Dir: w.me} }

// isLetIn checks that the client comes through, and that both sides then hear each other.
func (w *world) isLetIn(machines ...string) {
	w.t.Helper()
	c, reply, err := w.dialer().Dial(w.t.Context(), Request{Purpose: Agent})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log)
	}
	defer c.Close()
	p := <-w.handled
	if !slices.Equal(p.Machines, machines) {
		w.t.Errorf("it gets %q instead of %q", p.Machines, machines)
	}
	if reply.Session != "s" || p.Name() != "hostb" || p.From != netip.MustParseAddr("127.0.0.1") || p.Request.Purpose != Agent {
		w.t.Errorf("%+v, %+v", reply, p)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		w.t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
	if said, err := io.ReadAll(c); string(said) != "hello" || err != nil {
		w.t.Errorf("%q, %v", said, err)
	}
}

// isRefused checks that nobody is handed on, and that each side says why: the client with
// all of one list, the server's log with all of the other.
func (w *world) isRefused(client, server []string) {
	w.t.Helper()
	c, _, err := w.dialer().Dial(w.t.Context(), Request{Purpose: Agent})
	if err == nil {
		_ = c.Close()
		w.t.Fatal("let in")
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Advice == "" {
		w.t.Errorf("%T without advice: %v", err, err)
	}
	for _, word := range client {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("the client does not say %q: %v", word, err)
		}
	}
	w.logs(server...)
	if len(w.handled) > 0 {
		w.t.Error("somebody was handed on")
	}
}

// logs waits until the server has said all of these words.
func (w *world) logs(words ...string) {
	w.t.Helper()
	for _, word := range words {
		for end := time.Now().Add(20 * time.Second); !strings.Contains(w.log.String(), word); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				w.t.Fatalf("the server does not say %q: %s", word, w.log)
			}
		}
	}
}

func TestClientOnTheListIsLetIn(t *testing.T) {
	newWorld(t, "# comment\nhosta\n  hostb # the target\n").isLetIn()
	newWorld(t, "CN=hostb\n").isLetIn()
}

func TestNobodyIsLetInByDefault(t *testing.T) {
	for _, list := range []string{"", "# hostb\n", "hosta\n", "host\n", "*\n", "hostb,hosta\n"} {
		w := newWorld(t, list)
		w.isRefused([]string{"hostb", "add it to", ClientsFile}, []string{"hostb", "does not name it", "127.0.0.1"})
	}
	w := newWorld(t, "hostb\n")
	if err := os.Remove(filepath.Join(w.server, ClientsFile)); err != nil {
		t.Fatal(err)
	}
	w.isRefused([]string{"add it to"}, []string{"does not name it"})
	if err := (&Server{Dir: w.server}).Check(); err == nil || !strings.Contains(err.Error(), "names no client") {
		t.Errorf("%v", err)
	}
}

func TestBoundsThatCannotBeUnderstoodLetNobodyIn(t *testing.T) {
	w := newWorld(t, "hostb: shop-[\n")
	w.isRefused(nil, []string{ClientsFile, "line 1", "shop-["})
	w.let("hostb: shop-*, db1\n")
	w.isLetIn("shop-*", "db1")
}

func TestListThatOthersMayWriteToLetsNobodyIn(t *testing.T) {
	w := newWorld(t, "hostb\n")
	if err := os.Chmod(filepath.Join(w.server, ClientsFile), 0o646); err != nil {
		t.Fatal(err)
	}
	w.isRefused(nil, []string{ClientsFile, "0646"})
}

func TestFilesCountFromTheNextConnectionOn(t *testing.T) {
	w := newWorld(t, "hosta\n")
	w.isRefused([]string{"add it to"}, nil)
	w.let("hosta\nhostb\n")
	w.isLetIn()
	w.issue(pki.Leaf{Name: "localhost", Server: true, Lifetime: -time.Minute}, w.server)
	w.isRefused([]string{"CN=localhost", "not valid now", time.Now().Format("2006-01-02")}, []string{"certificate"})
	w.issue(pki.Leaf{Name: "localhost", Server: true, Lifetime: time.Hour}, w.server)
	w.isLetIn()
	w.let("")
	w.isRefused([]string{"add it to"}, nil)
}

func TestOwnCertificateThatExpiredIsNamed(t *testing.T) {
	w := newWorld(t, "hostb\n")
	w.issue(pki.Leaf{Name: "hostb", Lifetime: -time.Minute}, w.me)
	w.isRefused([]string{"client-cert.pem", "CN=hostb", "not valid now", time.Now().Add(-time.Minute).UTC().Format("2006-01-02 15:04")}, nil)
	// A client with a wrong clock shows it all the same.
	own, err := tls.LoadX509KeyPair(filepath.Join(w.me, "client-cert.pem"), filepath.Join(w.me, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w.rude(&tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{alpn}}, "expired certificate")
	w.logs("CN=hostb", "expired", "127.0.0.1")
}

// rude connects without checking anything, as somebody with another program would, and
// checks that the server breaks off with an alert.
func (w *world) rude(config *tls.Config, alert string) {
	w.t.Helper()
	config.InsecureSkipVerify = true
	if len(config.Certificates) > 0 {
		// Go's client holds back a certificate of an authority that the server does not
		// name; others do not.
		cert := config.Certificates[0]
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	c, err := tls.Dial("tcp", w.address, config)
	if err == nil {
		_, _ = io.WriteString(c, `{"purpose":"agent"}`+"\n")
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), alert) {
		w.t.Errorf("got %v, want an alert: %s", err, alert)
	}
	if len(w.handled) > 0 {
		w.t.Error("somebody was handed on")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t, "hostb\n")
	w.rude(&tls.Config{NextProtos: []string{alpn}}, "certificate required")
	w.logs("didn't provide a certificate")

	other := newWorld(t, "hostb\n") // another authority, the same names
	foreign, err := tls.LoadX509KeyPair(filepath.Join(other.me, "client-cert.pem"), filepath.Join(other.me, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w.rude(&tls.Config{Certificates: []tls.Certificate{foreign}, NextProtos: []string{alpn}}, "unknown certificate authority")
	w.logs("CN=hostb", "unknown authority")

	server, err := tls.LoadX509KeyPair(filepath.Join(w.server, "server-cert.pem"), filepath.Join(w.server, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w.let("hostb\nlocalhost\n")
	w.rude(&tls.Config{Certificates: []tls.Certificate{server}, NextProtos: []string{alpn}}, "certificate")
	w.logs("incompatible key usage")

	own, err := tls.LoadX509KeyPair(filepath.Join(w.me, "client-cert.pem"), filepath.Join(w.me, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w.rude(&tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}}, "no application protocol")
	w.rude(&tls.Config{Certificates: []tls.Certificate{own}}, "EOF")
	w.rude(&tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{alpn}, MaxVersion: tls.VersionTLS12}, "version")
	w.isLetIn()
}

func TestServerOfAnotherAuthorityIsRefused(t *testing.T) {
	w, other := newWorld(t, "hostb\n"), newWorld(t, "hostb\n")
	w.me = other.me
	w.isRefused([]string{"CN=localhost", "not of the authority in", other.me}, nil)
}

func TestServerMustBearTheNameItIsCalledBy(t *testing.T) {
	w := newWorld(t, "hostb\n")
	_, _, err := Dialer{Host: "127.0.0.1", Port: w.port, Dir: w.me}.Dial(t.Context(), Request{Purpose: Agent})
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Problem, "CN=localhost") || !strings.Contains(e.Advice, "--address 127.0.0.1") {
		t.Errorf("%+v", err)
	}
	w.issue(pki.Leaf{Name: "localhost", Addresses: []string{"127.0.0.1"}, Server: true, Lifetime: time.Hour}, w.server)
	c, _, err := Dialer{Host: "127.0.0.1", Port: w.port, Dir: w.me}.Dial(t.Context(), Request{Purpose: Agent})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestRevokedClientIsRefused(t *testing.T) {
	w := newWorld(t, "hostb\n")
	w.isLetIn()
	ca, err := tls.LoadX509KeyPair(filepath.Join(w.ca, "ca-cert.pem"), filepath.Join(w.ca, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	held, err := pki.Look(w.me)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: held[1].Certificate.SerialNumber, RevocationTime: time.Now()}}},
		ca.Leaf, ca.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.server, "ca-crl.pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	w.isRefused([]string{"does not take the certificate", "CN=hostb", "bad certificate"}, []string{"CN=hostb", "was revoked at"})
}

func TestPlainTextIsNoWayIn(t *testing.T) {
	w := newWorld(t, "hostb\n")
	for _, says := range []string{"GET / HTTP/1.1\r\n\r\n", `{"purpose":"agent"}` + "\n", strings.Repeat("\x16\x03\x01\xff\xff", 20_000), "\x00"} {
		c, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, says)
		_ = c.(*net.TCPConn).CloseWrite()
		said, _ := io.ReadAll(c) // a reset is as good an answer
		if len(said) > 16 {
			t.Errorf("%.20q was answered with %q", says, said)
		}
		_ = c.Close()
	}
	w.isLetIn()
}

func TestWhatAClientWantsIsBounded(t *testing.T) {
	w := newWorld(t, "hostb\n")
	for _, says := range []string{strings.Repeat("x", 1<<20), "no JSON\n", "{}" + strings.Repeat(" ", maxLine) + "\n"} {
		config, _, err := w.dialer().config()
		if err != nil {
			t.Fatal(err)
		}
		c, err := tls.Dial("tcp", w.address, config)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, says)
		if said, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			t.Errorf("%.20q was answered with %q", says, said)
		}
		_ = c.Close()
	}
	if len(w.handled) > 0 {
		t.Error("somebody was handed on")
	}
}

// TestWhoDoesNotComeToThePointIsCutOff has clients that stop at each step: nothing, half
// of a handshake byte by byte, and all of one without a word of what it is for.
func TestWhoDoesNotComeToThePointIsCutOff(t *testing.T) {
	w := newWorld(t, "hostb\n")
	began := time.Now()
	silent, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	go func() { // a record of 512 bytes, one each 50 ms
		_, err := slow.Write([]byte{22, 3, 1, 2, 0})
		for err == nil {
			time.Sleep(50 * time.Millisecond)
			_, err = slow.Write([]byte{1})
		}
	}()
	config, _, err := w.dialer().config()
	if err != nil {
		t.Fatal(err)
	}
	wordless, err := tls.Dial("tcp", w.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer wordless.Close()
	w.isLetIn() // meanwhile
	for name, c := range map[string]net.Conn{"silent": silent, "slow": slow, "wordless": wordless} {
		_ = c.SetReadDeadline(began.Add(2 * patience))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s client is still connected", name)
		}
	}
	if took := time.Since(began); took < patience/2 {
		t.Errorf("cut off after %v", took)
	}
}

// TestOnePlaceCannotKeepOthersOut floods the server from one address.
func TestOnePlaceCannotKeepOthersOut(t *testing.T) {
	w := newWorld(t, "hostb\n")
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	for range 3 * maxFromOnePlace {
		c, err := from.DialContext(t.Context(), "tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	w.logs("too many from there")
	w.isLetIn()
	if n := strings.Count(w.log.String(), "too many from there"); n != 2*maxFromOnePlace {
		t.Errorf("%d connections were refused, not %d", n, 2*maxFromOnePlace)
	}
}

func TestStrangersAreCounted(t *testing.T) {
	s := &strangers{bound: 20}
	a := netip.MustParseAddr
	for range maxFromOnePlace {
		if !s.enter(a("2001:db8::1")) {
			t.Fatal("refused too early")
		}
	}
	if s.enter(a("2001:db8::ffff")) {
		t.Error("a network of one customer counts as two")
	}
	for i, from := range []string{"2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		if !s.enter(a(from)) {
			t.Errorf("%s was refused as number %d", from, i)
		}
	}
	if s.enter(a("192.0.2.4")) {
		t.Error("more than the bound")
	}
	s.leave(a("::ffff:192.0.2.1"))
	if !s.enter(a("192.0.2.4")) {
		t.Error("a place was not given back")
	}
	for range maxFromOnePlace {
		s.leave(a("2001:db8::1"))
	}
	for _, from := range []string{"2001:db8:0:1::1", "192.0.2.2", "192.0.2.3", "192.0.2.4"} {
		s.leave(a(from))
	}
	if s.all != 0 || len(s.from) != 0 {
		t.Errorf("%d are left, of %v", s.all, s.from)
	}
}

func TestServerEndsWithItsContextAndItsClients(t *testing.T) {
	w := newWorld(t, "hostb\n")
	c, _, err := w.dialer().Dial(t.Context(), Request{Purpose: Agent})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.NetConn().Close()
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.dialer().Dial(dead, Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWhereNobodyListensTheSocketIsNamed(t *testing.T) {
	w := newWorld(t, "hostb\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	_, _, err = w.dialer().Dial(t.Context(), Request{})
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Problem, "nobody listens") || !strings.Contains(e.Advice, "vmsync-nbdproxy.socket") {
		t.Errorf("%+v", err)
	}
}
