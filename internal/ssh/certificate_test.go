package ssh

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// newAuthority makes a key that signs others.
func newAuthority(t *testing.T) (path string, public ssh.PublicKey) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca")
	public = writeKey(t, path, "")
	writeFile(t, path+".pub", string(ssh.MarshalAuthorizedKey(public)))
	return path, public
}

func TestCertificateBesideAKeyLetsItIn(t *testing.T) {
	ca, _ := newAuthority(t)
	s := startServer(t, "TrustedUserCAKeys "+ca+".pub")
	key := filepath.Join(t.TempDir(), "key")
	writeFile(t, key+".pub", string(ssh.MarshalAuthorizedKey(writeKey(t, key, ""))))
	o := clientConfig(t, s.knownHost)
	o.KeyFile = key
	if _, err := Dial(t.Context(), s.target(), o); err == nil {
		t.Fatal("the key gets in without its certificate")
	}
	keygen(t, "-q", "-s", ca, "-I", "test", "-n", "root", key+".pub")
	works(t, connect(t, s.target(), o))
}

func TestHostIsKnownByTheAuthorityOfItsCertificate(t *testing.T) {
	ca, public := newAuthority(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "host")
	writeFile(t, key+".pub", string(ssh.MarshalAuthorizedKey(writeKey(t, key, ""))))
	keygen(t, "-q", "-s", ca, "-I", "test", "-h", "-n", "127.0.0.1", key+".pub")
	s := startServer(t, "HostKey "+key, "HostCertificate "+key+"-cert.pub")
	authority := "@cert-authority 127.0.0.1,[127.0.0.1]:* " + string(ssh.MarshalAuthorizedKey(public))

	o := clientConfig(t, authority)
	o.KeyFile = s.userKey
	works(t, connect(t, s.target(), o))

	// Another host's certificate is none.
	o = clientConfig(t, "@cert-authority other "+string(ssh.MarshalAuthorizedKey(public)), "HostKeyAlias other")
	o.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), o)
	var hostKey *HostKeyError
	if !errors.As(err, &hostKey) || hostKey.Kind != HostKeyUntrusted {
		t.Fatal(err)
	}
}
