package gate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vmsync/internal/hosturi"
	"vmsync/internal/pki"
	"vmsync/internal/tlslink"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// The test binary is the agent as well: with this variable it serves, as `vmsync agent
// --for-client` does, an end that has no libvirt.
const asAgent = "GATE_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		e := &end{from: os.Args[1], folder: os.Args[2]}
		err := remote.Serve(context.Background(), os.Stdin, os.Stdout, remote.Ends{PullOnly: true, Source: func() replicator.SourceEnd { return e }})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// end is a source end whose stream says hello and then what it hears. That it was closed
// it writes to a file above its folder.
type end struct {
	replicator.SourceEnd
	from, folder string
}

func (e *end) List(context.Context) ([]replicator.SourceDomain, error) {
	return []replicator.SourceDomain{{Name: "vm-for-" + e.from}}, nil
}

func (e *end) Begin(context.Context, replicator.BeginRequest) (*replicator.Begun, error) {
	l, err := net.Listen("unix", filepath.Join(e.folder, socketName))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, "hello ")
				_, _ = io.Copy(c, c)
				_ = c.(*net.UnixConn).CloseWrite()
			}()
		}
	}()
	return &replicator.Begun{Socket: "/etc/shadow"}, nil
}

// Inspect waits for as long as it may.
func (e *end) Inspect(ctx context.Context, _ replicator.InspectRequest) (*replicator.SourceView, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (e *end) Close() error {
	return os.WriteFile(filepath.Join(filepath.Dir(e.folder), "closed-"+filepath.Base(e.folder)), nil, 0o600)
}

// world is a gate on loopback, and folders of clients.
type world struct {
	t    *testing.T
	gate *Gate
	port int
	dir  string
	log  *syncBuffer
	stop func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Setenv(asAgent, "1")
	t.Setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
	w := &world{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	if err := pki.NewAuthority(w.dir+"/ca", "test"); err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]bool{"localhost": true, "hostb": false, "hostc": false} {
		if err := pki.Issue(w.dir+"/ca", pki.Leaf{Name: name, Server: server, Lifetime: time.Hour}, w.dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.dir+"/localhost/"+tlslink.ClientsFile, []byte("hostb: shop-* db1\nhostc: shop-* db1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	w.gate, err = New(func(a Agent) []string {
		if want := []string{"shop-*", "db1"}; !slices.Equal(a.Machines, want) {
			t.Errorf("an agent for %q instead of %q", a.Machines, want)
		}
		return []string{"/proc/self/exe", a.From.String(), a.StreamFolder}
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := &tlslink.Server{Dir: w.dir + "/localhost", Handle: w.gate.Handle, Log: log}
	go func() { served <- server.Serve(ctx, l) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		w.stop()
		if err := w.gate.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(w.gate.work.Path); err == nil {
			t.Error("the gate's folder is left")
		}
	})
	return w
}

// connect has an agent started for a client.
func (w *world) connect(client string, role remote.Role) (*remote.Solo, error) {
	at, err := hosturi.Parse(fmt.Sprintf("vmsync+tls://localhost:%d/system", w.port))
	if err != nil {
		w.t.Fatal(err)
	}
	return remote.ConnectSolo(w.t.Context(), at, role, remote.Access{TLSDir: w.dir + "/" + client}, io.Discard)
}

func (w *world) solo(client string) *remote.Solo {
	w.t.Helper()
	s, err := w.connect(client, remote.RoleSource)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log)
	}
	return s
}

// dial connects as a client would that keeps to no rules.
func (w *world) dial(client string, r tlslink.Request) (io.ReadWriteCloser, tlslink.Reply, error) {
	return tlslink.Dialer{Host: "localhost", Port: w.port, Dir: w.dir + "/" + client}.Dial(w.t.Context(), r)
}

// closed waits until n ends have been closed in an orderly way, and their agents are gone.
func (w *world) closed(n int) {
	w.t.Helper()
	var marks []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		marks, _ = filepath.Glob(w.gate.work.Path + "/closed-*")
		if len(marks) == n && w.gate.Agents() == 0 {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d ends are closed, %d sessions are left, want %d and 0\n%s", len(marks), w.gate.Agents(), n, w.log)
		}
	}
	left, _ := os.ReadDir(w.gate.work.Path)
	if len(left) != n {
		w.t.Errorf("folders of sessions are left: %v", left)
	}
}

// session gives the only session's name.
func (w *world) session() string {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if len(w.gate.sessions) != 1 {
		w.t.Fatalf("%d sessions", len(w.gate.sessions))
	}
	for id := range w.gate.sessions {
		return id
	}
	return ""
}

func TestClientTalksWithAnAgentOfItsOwn(t *testing.T) {
	w := newWorld(t)
	s := w.solo("hostb")
	all, err := s.Source().List(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "vm-for-127.0.0.1" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-s.Gone()
	w.closed(1)
	if !strings.Contains(w.log.String(), "client=hostb from=127.0.0.1") {
		t.Errorf("the log does not tell who came: %s", w.log)
	}
}

func TestClientCanOnlyPull(t *testing.T) {
	w := newWorld(t)
	if _, err := w.connect("hostb", remote.RoleTarget); err == nil || !strings.Contains(err.Error(), "can only be the source") {
		t.Errorf("%v", err)
	}
	// A client that keeps to no rules is told so by the agent.
	conn, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Agent})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 4096)
	for request, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":5,"role":"target"}}`:             "only pull",
		`{"jsonrpc":"2.0","id":2,"method":"target.open","params":{"store":"/","target_domain":"x"}}`:    "not for who comes over TLS",
		`{"jsonrpc":"2.0","id":3,"method":"target.commit","params":{}}`:                                 "not for who comes over TLS",
		`{"jsonrpc":"2.0","id":4,"method":"source.runcommand","params":{"command":["/bin/sh","-c",1]}}`: "method not found",
	} {
		if _, err := io.WriteString(conn, request+"\n"); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if err != nil || !strings.Contains(string(answer[:n]), want) || !strings.Contains(string(answer[:n]), "error") {
			t.Errorf("%s: %s, %v", request, answer[:n], err)
		}
	}
}

// TestStreamIsThatOfTheClientsOwnAgent has several lanes of a run, whose agent says that its
// socket is some other file, and clients that want another's stream, or one that is none.
func TestStreamIsThatOfTheClientsOwnAgent(t *testing.T) {
	w := newWorld(t)
	s := w.solo("hostb")
	defer s.Close()
	id := w.session()
	refused := func(client, session, why string) {
		t.Helper()
		c, _, err := w.dial(client, tlslink.Request{Purpose: tlslink.Stream, Session: session})
		if err == nil {
			_ = c.Close()
			t.Errorf("%s got the stream of %q", client, session)
		} else if !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", session, err)
		}
	}
	refused("hostb", id, "offers no stream") // nothing has begun
	if _, err := s.Source().Begin(t.Context(), replicator.BeginRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, session := range []string{"", id[:8], id + "0", "../" + id, "/run/libvirt/libvirt-sock"} {
		refused("hostb", session, "no agent of this client")
	}
	refused("hostc", id, "no agent of this client")

	var lanes sync.WaitGroup
	for lane := range 4 {
		lanes.Go(func() {
			c, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Stream, Session: id})
			if err != nil {
				t.Error(err)
				return
			}
			sent := bytes.Repeat([]byte{byte('a' + lane)}, 3<<20)
			go func() {
				_, _ = c.Write(sent)
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || string(got) != "hello "+string(sent) {
				t.Errorf("lane %d: %d bytes, %v", lane, len(got), err)
			}
			_ = c.Close()
		})
	}
	lanes.Wait()
	var open []io.Closer
	for range maxLanes + 1 {
		c, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Stream, Session: id})
		if err != nil {
			if !strings.Contains(err.Error(), "no more than 8") {
				t.Error(err)
			}
			break
		}
		open = append(open, c)
	}
	if len(open) != maxLanes {
		t.Errorf("%d lanes were open", len(open))
	}
	// Streams end with the agent.
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range open {
		_, _ = io.ReadAll(c.(io.Reader))
		_ = c.Close()
	}
	w.closed(1)
	refused("hostb", id, "no agent of this client")
}

// TestAgentUndoesItsRunWhenItsClientIsGone ends connections in each way, while the agent
// is in the middle of something.
func TestAgentUndoesItsRunWhenItsClientIsGone(t *testing.T) {
	w := newWorld(t)
	for i, gone := range []func(c io.Closer){
		func(c io.Closer) { _ = c.Close() },
		func(c io.Closer) { _ = c.(interface{ NetConn() net.Conn }).NetConn().Close() },
		func(c io.Closer) { _ = c.(interface{ CloseWrite() error }).CloseWrite() },
	} {
		c, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Agent})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":5,"role":"source"}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, `{"jsonrpc":"2.0","id":2,"method":"source.inspect","params":{}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		gone(c)
		w.closed(i + 1)
		_ = c.Close()
	}
}

func TestAgentsUndoTheirRunsWhenTheListenerEnds(t *testing.T) {
	w := newWorld(t)
	a, b := w.solo("hostb"), w.solo("hostc")
	if n := w.gate.Agents(); n != 2 {
		t.Fatalf("%d agents", n)
	}
	w.stop() // it returns when all of them have
	if n := w.gate.Agents(); n != 0 {
		t.Errorf("%d agents outlive it", n)
	}
	w.closed(2)
	for _, s := range []*remote.Solo{a, b} {
		<-s.Gone()
		if _, err := s.Source().List(t.Context()); err == nil {
			t.Error("an agent answers that is gone")
		}
		_ = s.Close()
	}
}

func TestAgentsAreBounded(t *testing.T) {
	w := newWorld(t)
	var open []io.Closer
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxAgentsOfAClient + 1 {
		c, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Agent})
		if err != nil {
			if !strings.Contains(err.Error(), "no more are allowed") {
				t.Error(err)
			}
			break
		}
		open = append(open, c)
	}
	if len(open) != maxAgentsOfAClient {
		t.Errorf("%d agents for one client", len(open))
	}
	s := w.solo("hostc") // is not kept out
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnknownPurposeIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.dial("hostb", tlslink.Request{Purpose: "shell"}); err == nil || !strings.Contains(err.Error(), `"shell"`) {
		t.Errorf("%v", err)
	}
}

func TestAgentThatCannotBeStartedIsTold(t *testing.T) {
	w := newWorld(t)
	w.gate.command = func(Agent) []string { return []string{"/nonexistent"} }
	if _, err := w.connect("hostb", remote.RoleSource); err == nil || !strings.Contains(err.Error(), "could not be started") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(w.log.String(), "/nonexistent") {
		t.Errorf("the log does not tell: %s", w.log)
	}
	w.closed(0)
}

// TestFloodOfRequestsEndsTheAgent has clients that send without waiting for answers, which
// must not be kept for them.
func TestFloodOfRequestsEndsTheAgent(t *testing.T) {
	w := newWorld(t)
	for name, flood := range map[string]string{
		"requests": strings.Repeat(`{"jsonrpc":"2.0","id":2,"method":"source.inspect","params":{}}`+"\n", 100),
		"a batch":  "[" + strings.Repeat(`{"jsonrpc":"2.0","id":2,"method":"ping"},`, 100) + `{"jsonrpc":"2.0","id":2,"method":"ping"}]` + "\n",
	} {
		c, _, err := w.dial("hostb", tlslink.Request{Purpose: tlslink.Agent})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":5,"role":"source"}}`+"\n")
		if _, err := c.Read(make([]byte, 1000)); err != nil { // there is something to undo now
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, flood)
		done := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, c); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the agent goes on", name)
		}
		_ = c.Close()
	}
	w.closed(2)
}
