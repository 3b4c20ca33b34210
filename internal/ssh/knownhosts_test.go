package ssh

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestLineOfAnUnknownKindDoesNotSpoilTheFile(t *testing.T) {
	s := startServer(t)
	junk := "old.example 1024 35 1234567890\nhost post-quantum-1 AAAA\n"
	o := clientConfig(t, junk+s.knownHost)
	o.KeyFile = s.userKey
	works(t, connect(t, s.target(), o))

	other := writeKey(t, filepath.Join(t.TempDir(), "other"), "")
	o = clientConfig(t, junk+fmt.Sprintf("[127.0.0.1]:%d %s", s.port, ssh.MarshalAuthorizedKey(other)))
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	var hostKey *HostKeyError
	if !errors.As(err, &hostKey) || hostKey.Kind != HostKeyChanged || hostKey.Line != 3 ||
		!strings.HasPrefix(o.ConfigFile, filepath.Dir(hostKey.File)) {
		t.Fatal(err)
	}
}

func TestRevocationThatCannotBeReadIsNotPassedOver(t *testing.T) {
	o := clientConfig(t, "@revoked * post-quantum-1 AAAA\n")
	_, err := Dial(t.Context(), Target{Host: "127.0.0.1"}, o)
	var config *ConfigError
	if !errors.As(err, &config) || !strings.Contains(err.Error(), "known_hosts:1:") {
		t.Fatal(err)
	}
}

func TestIPv6AddressIsReached(t *testing.T) {
	s := startServer(t, "ListenAddress [::1]:{PORT}")
	o := clientConfig(t, fmt.Sprintf("[::1]:%d %s", s.port, ssh.MarshalAuthorizedKey(s.hostKey)))
	o.KeyFile = s.userKey
	for _, host := range []string{"::1", "[::1]"} {
		works(t, connect(t, Target{Host: host, Port: s.port}, o))
	}
}
