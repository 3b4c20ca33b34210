package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"vmsync/internal/proc"
)

func TestKnownHostIsAccepted(t *testing.T) {
	_, c := connected(t)
	works(t, c)
}

func TestUnknownHostIsRefusedWithTheCommandThatFixesIt(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, "")
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	var hostKey *HostKeyError
	if !errors.As(err, &hostKey) {
		t.Fatal(err)
	}
	if hostKey.Kind != HostKeyUnknown || hostKey.Fingerprint != ssh.FingerprintSHA256(s.hostKey) {
		t.Errorf("%+v", hostKey)
	}
	if !strings.Contains(err.Error(), hostKey.Fix) || !strings.Contains(err.Error(), hostKey.Fingerprint) {
		t.Errorf("%q names neither fix nor fingerprint", err)
	}
	// The advice is good if following it helps.
	if _, err := proc.Output(t.Context(), proc.Cmd{Argv: []string{"sh", "-c", hostKey.Fix}}, 1<<16); err != nil {
		t.Fatalf("%s: %v", hostKey.Fix, err)
	}
	works(t, connect(t, s.target(), o))
}

func TestChangedHostKeyIsRefusedWithTheCommandThatFixesIt(t *testing.T) {
	s := startServer(t)
	other := writeKey(t, filepath.Join(t.TempDir(), "other"), "")
	o := clientConfig(t, fmt.Sprintf("# a comment\n[127.0.0.1]:%d %s", s.port, ssh.MarshalAuthorizedKey(other)))
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	var hostKey *HostKeyError
	if !errors.As(err, &hostKey) {
		t.Fatal(err)
	}
	if hostKey.Kind != HostKeyChanged || hostKey.Line != 2 || filepath.Base(hostKey.File) != "known_hosts" {
		t.Errorf("%+v", hostKey)
	}
	if !strings.Contains(err.Error(), "ssh-keygen") {
		t.Errorf("%q does not say how to forget the old key", err)
	}
	if _, err := proc.Output(t.Context(), proc.Cmd{Argv: []string{"sh", "-c", hostKey.Fix}}, 1<<16); err != nil {
		t.Fatalf("%s: %v", hostKey.Fix, err)
	}
	works(t, connect(t, s.target(), o))
}

func TestStrictHostKeyCheckingCannotBeTurnedOff(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, "", "StrictHostKeyChecking no")
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	if hostKey := (*HostKeyError)(nil); !errors.As(err, &hostKey) {
		t.Fatalf("got %v, want a HostKeyError", err)
	}
}

func TestRevokedHostKeyIsRefused(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost+"@revoked * "+string(ssh.MarshalAuthorizedKey(s.hostKey)))
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	var hostKey *HostKeyError
	if !errors.As(err, &hostKey) || hostKey.Kind != HostKeyRevoked || hostKey.Line != 2 {
		t.Fatal(err)
	}
}

func TestHostKnownByOneKeyTypeIsAskedForThatType(t *testing.T) {
	rsa := filepath.Join(t.TempDir(), "rsa")
	keygen(t, "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa)
	public, err := os.ReadFile(rsa + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "HostKey "+rsa)
	for name, known := range map[string]string{
		"ed25519": s.knownHost,
		"rsa":     fmt.Sprintf("[127.0.0.1]:%d %s", s.port, public),
	} {
		t.Run(name, func(t *testing.T) {
			o := clientConfig(t, known)
			o.KeyFile = s.userKey
			works(t, connect(t, s.target(), o))
		})
	}
}

func TestKeyKnownForTheNameWithoutPortCounts(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, "127.0.0.1 "+string(ssh.MarshalAuthorizedKey(s.hostKey)))
	o.KeyFile = s.userKey
	works(t, connect(t, s.target(), o))
}

func TestAliasTakesItsSettingsFromTheConfiguration(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, "keyname "+string(ssh.MarshalAuthorizedKey(s.hostKey)), fmt.Sprintf(`
Host prod-*
  HostName 127.0.0.1
  Port %d
  User root
  HostKeyAlias keyname
  IdentityFile /nonexistent/key
  IdentityFile "%s"
  IdentitiesOnly yes
Host *
  User nobody
  Port 1
`, s.port, s.userKey))
	works(t, connect(t, Target{Host: "prod-a"}, o))
}

func TestUserAndPortOfTheTargetWin(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost, "User nobody", "Port 1")
	o.KeyFile = s.userKey
	works(t, connect(t, Target{Host: "127.0.0.1", Port: s.port, User: "root"}, o))
	o.User = "root"
	works(t, connect(t, s.target(), o))
}

func TestMatchIsLeftToOpenSSH(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost, fmt.Sprintf(`
Match host prod-a exec "true"
  HostName 127.0.0.1
  Port %d
  IdentityFile %s
`, s.port, s.userKey))
	works(t, connect(t, Target{Host: "prod-a"}, o))
}

func TestMatchWithoutOpenSSHIsExplained(t *testing.T) {
	o := clientConfig(t, "", "Match all")
	t.Setenv("PATH", t.TempDir())
	_, err := Dial(t.Context(), Target{Host: "a"}, o)
	var config *ConfigError
	if !errors.As(err, &config) || config.File != o.ConfigFile {
		t.Fatal(err)
	}
	for _, word := range []string{o.ConfigFile, "Match", "--ssh-config"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not mention %s", err, word)
		}
	}
}

func TestMissingConfigurationFileIsAnError(t *testing.T) {
	_, err := Dial(t.Context(), Target{Host: "a"}, Options{ConfigFile: "/nonexistent/config"})
	var config *ConfigError
	if !errors.As(err, &config) || config.File != "/nonexistent/config" {
		t.Fatal(err)
	}
}

func TestJumpHostIsUsedWithItsOwnSettings(t *testing.T) {
	jump, s := startServer(t), startServer(t, "PermitOpen none")
	o := clientConfig(t, jump.knownHost+s.knownHost, fmt.Sprintf(`
Host jump
  HostName 127.0.0.1
  Port %d
  IdentityFile %s
Host inner
  HostName 127.0.0.1
  Port %d
  IdentityFile %s
  ProxyJump root@jump
`, jump.port, jump.userKey, s.port, s.userKey))
	c := connect(t, Target{Host: "inner"}, o)
	works(t, c)
	if n := len(jump.children(t)); n == 0 {
		t.Error("the jump host serves no connection")
	}
	c.Close()
}

func TestChainOfJumpHostsIsFollowed(t *testing.T) {
	a, b, s := startServer(t), startServer(t), startServer(t)
	o := clientConfig(t, a.knownHost+b.knownHost+s.knownHost,
		"IdentityFile "+a.userKey, "IdentityFile "+b.userKey, "IdentityFile "+s.userKey,
		fmt.Sprintf("Host inner\n HostName 127.0.0.1\n Port %d\n ProxyJump 127.0.0.1:%d,ssh://root@127.0.0.1:%d",
			s.port, a.port, b.port))
	works(t, connect(t, Target{Host: "inner"}, o))
	for _, hop := range []*server{a, b, s} {
		if len(hop.children(t)) == 0 {
			t.Errorf("the sshd on port %d serves no connection", hop.port)
		}
	}
}

func TestJumpHostThatIsItsOwnJumpHostIsRefused(t *testing.T) {
	o := clientConfig(t, "", "ProxyJump 127.0.0.1")
	_, err := Dial(t.Context(), Target{Host: "127.0.0.1"}, o)
	if err == nil || !strings.Contains(err.Error(), "more than 8 jump hosts") {
		t.Fatal(err)
	}
}

func TestFailureOfTheJumpHostNamesIt(t *testing.T) {
	jump := startServer(t)
	o := clientConfig(t, "", fmt.Sprintf(
		"Host jump\n HostName 127.0.0.1\n Port %d\nHost inner\n ProxyJump jump", jump.port))
	_, err := Dial(t.Context(), Target{Host: "inner"}, o)
	var outer *ConnectError
	var hostKey *HostKeyError
	if !errors.As(err, &outer) || outer.Host != "inner" || !errors.As(err, &hostKey) {
		t.Fatal(err)
	}
	if !strings.Contains(hostKey.Fix, strconv.Itoa(jump.port)) {
		t.Errorf("the fix %q is not about the jump host", hostKey.Fix)
	}
}

func TestProxyCommandIsUsed(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, "inner "+string(ssh.MarshalAuthorizedKey(s.hostKey)),
		// sshd -i speaks on stdin and stdout.
		fmt.Sprintf("Host inner\n HostKeyAlias inner\n IdentityFile %s\n ProxyCommand /usr/sbin/sshd -i -f %s/sshd_%%n_config",
			s.userKey, s.dir))
	text, err := os.ReadFile(filepath.Join(s.dir, "sshd_config"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(s.dir, "sshd_inner_config"), string(text))
	works(t, connect(t, Target{Host: "inner"}, o))
}

func TestFailingProxyCommandIsQuoted(t *testing.T) {
	o := clientConfig(t, "", "ProxyCommand echo the relay is down >&2; exit 1")
	_, err := Dial(t.Context(), Target{Host: "a"}, o)
	var c *ConnectError
	if !errors.As(err, &c) || c.Op != OpHandshake || !strings.Contains(err.Error(), "the relay is down") {
		t.Fatal(err)
	}
}

func TestRefusedConnectionIsExplained(t *testing.T) {
	_, err := Dial(t.Context(), Target{Host: "127.0.0.1", Port: freePort(t)}, clientConfig(t, ""))
	var c *ConnectError
	if !errors.As(err, &c) || c.Op != OpConnect || !strings.Contains(c.Hint, "is sshd running") {
		t.Fatal(err)
	}
}

func TestUnknownNameIsExplained(t *testing.T) {
	_, err := Dial(t.Context(), Target{Host: "no-such-host.invalid"}, clientConfig(t, ""))
	var c *ConnectError
	var dns *net.DNSError
	if !errors.As(err, &c) || c.Op != OpConnect || !errors.As(err, &dns) || c.Hint == "" {
		t.Fatal(err)
	}
}

// silentPort accepts connections and says nothing.
func silentPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestSilentPortEndsWithTheContext(t *testing.T) {
	cause := errors.New("the user pressed ^C")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	_, err := Dial(ctx, Target{Host: "127.0.0.1", Port: silentPort(t)}, clientConfig(t, ""))
	var c *ConnectError
	if !errors.As(err, &c) || c.Op != OpHandshake || !errors.Is(err, cause) {
		t.Fatal(err)
	}
}

func TestNamesThatAShellWouldReadAreRefused(t *testing.T) {
	for _, target := range []Target{
		{Host: ""}, {Host: "-oProxyCommand=id"}, {Host: "a;id"}, {Host: "a b"}, {Host: "$(id)"},
		{Host: "a", User: "`id`"}, {Host: "a", User: "-x"}, {Host: "a", Port: 70000},
	} {
		_, err := Dial(t.Context(), target, Options{ConfigFile: "none"})
		if config := (*ConfigError)(nil); !errors.As(err, &config) {
			t.Errorf("%+v: %v", target, err)
		}
	}
}
