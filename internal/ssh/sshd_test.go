package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vmsync/internal/proc"
)

// server is a real sshd on a port of its own that lets one key in as root.
type server struct {
	port      int
	hostKey   ssh.PublicKey
	userKey   string // path of the private key it accepts
	process   *proc.Process
	knownHost string // line for known_hosts
	dir       string
}

// startServer starts an sshd with additional lines of configuration.
func startServer(t *testing.T, extra ...string) *server {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to run sshd")
	}
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("needs openssh-server")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &server{dir: dir, port: freePort(t), userKey: filepath.Join(dir, "user")}
	s.hostKey = writeKey(t, filepath.Join(dir, "host"), "")
	public := writeKey(t, s.userKey, "")
	writeFile(t, filepath.Join(dir, "authorized_keys"), string(ssh.MarshalAuthorizedKey(public)))
	s.knownHost = fmt.Sprintf("[127.0.0.1]:%d %s", s.port, ssh.MarshalAuthorizedKey(s.hostKey))
	config := fmt.Sprintf(`ListenAddress 127.0.0.1:%d
HostKey %s/host
AuthorizedKeysFile %s/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
MaxAuthTries 20
%s
`, s.port, dir, dir, strings.ReplaceAll(strings.Join(extra, "\n"), "{PORT}", strconv.Itoa(s.port)))
	writeFile(t, filepath.Join(dir, "sshd_config"), config)
	p, err := proc.Start(context.Background(), proc.Cmd{
		Argv: []string{sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() {
		_ = p.Stop(5 * time.Second)
		if t.Failed() {
			t.Logf("sshd on port %d says:\n%s", s.port, p.StderrTail())
		}
	})
	for range 500 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			conn.Close()
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("sshd does not listen: %s", p.StderrTail())
	return nil
}

// children lists the processes that serve connections of this sshd.
func (s *server) children(t *testing.T) []int {
	t.Helper()
	var pids []int
	queue := []int{s.process.PID()}
	for len(queue) > 0 {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", queue[0], queue[0]))
		if err != nil {
			t.Fatal(err)
		}
		queue = queue[1:]
		for _, f := range strings.Fields(string(list)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids, queue = append(pids, pid), append(queue, pid)
		}
	}
	return pids
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeKey makes an Ed25519 key, protected if a passphrase is given.
func writeKey(t *testing.T, path, passphrase string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(pem.EncodeToMemory(block)))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// rewriteAsProtected protects the key in a file with a passphrase.
func rewriteAsProtected(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(pem.EncodeToMemory(block)))
}

// startAgent serves an SSH agent that holds the keys in these files.
func startAgent(t *testing.T, paths ...string) (socket string) {
	t.Helper()
	keyring := agent.NewKeyring()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn)
			}()
		}
	}()
	return socket
}

// clientConfig writes a configuration that takes nothing from this machine's user:
// lines for single hosts first, then what holds for all.
func clientConfig(t *testing.T, knownHosts string, hosts ...string) Options {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "known_hosts"), knownHosts)
	config := strings.Join(hosts, "\n") + fmt.Sprintf(`
Host *
  UserKnownHostsFile "%s/known_hosts"
  GlobalKnownHostsFile none
  IdentityAgent none
  IdentityFile none
  User root
`, dir)
	return Options{ConfigFile: writeFile(t, filepath.Join(dir, "config"), config), home: dir}
}

func connect(t *testing.T, target Target, o Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), target, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connected starts a server and connects to it.
func connected(t *testing.T, extra ...string) (*server, *Client) {
	t.Helper()
	s := startServer(t, extra...)
	o := clientConfig(t, s.knownHost)
	o.KeyFile = s.userKey
	return s, connect(t, s.target(), o)
}

func (s *server) target() Target { return Target{Host: "127.0.0.1", Port: s.port} }

// run runs a program to its end and returns its output.
func run(t *testing.T, c *Client, argv ...string) (stdout, stderr string, err error) {
	t.Helper()
	p, err := c.Command(t.Context(), argv)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Stdin.Close()
	var out, errs bytes.Buffer
	errDone := make(chan struct{})
	go func() {
		defer close(errDone)
		_, _ = errs.ReadFrom(p.Stderr)
	}()
	if _, err := out.ReadFrom(p.Stdout); err != nil {
		t.Fatal(err)
	}
	<-errDone
	return out.String(), errs.String(), p.Wait()
}

// works fails the test unless the connection can be used.
func works(t *testing.T, c *Client) {
	t.Helper()
	if out, _, err := run(t, c, "echo", "it works"); out != "it works\n" || err != nil {
		t.Fatalf("%q, %v", out, err)
	}
}

func keygen(t *testing.T, args ...string) {
	t.Helper()
	if _, err := proc.Output(t.Context(), proc.Cmd{Argv: append([]string{"ssh-keygen"}, args...)}, 1<<16); err != nil {
		t.Fatal(err)
	}
}
