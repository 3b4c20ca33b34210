package pki

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// greet has a server greet a client over TLS and returns what went wrong on either
// side.
func greet(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			s := tls.Server(c, server)
			defer s.Close()
			_, err = io.WriteString(s, "hello")
			return err
		}()
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		// A client learns only from its first read what the server thinks of its certificate.
		var got []byte
		got, err = io.ReadAll(c)
		_ = c.Close()
		if err == nil && string(got) != "hello" {
			t.Errorf("greeted with %q", got)
		}
	}
	return <-done, err
}

// ends makes both configurations in one folder.
func ends(t *testing.T, dir string, allow ...string) (server, client *tls.Config) {
	t.Helper()
	server, err := Server(dir, allow)
	if err != nil {
		t.Fatal(err)
	}
	client, err = Client(dir, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func refused(t *testing.T, server, client *tls.Config, why string) {
	t.Helper()
	s, c := greet(t, server, client)
	if s == nil || c == nil || !strings.Contains(s.Error(), why) {
		t.Errorf("server's error %v, client's error %v; want the server to say %q", s, c, why)
	}
}

func accepted(t *testing.T, server, client *tls.Config) {
	t.Helper()
	if s, c := greet(t, server, client); s != nil || c != nil {
		t.Errorf("server's error %v, client's error %v", s, c)
	}
}

func TestClientOfTheAuthorityIsLetIn(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	a.client(dir, "hosta")
	s, c := ends(t, dir)
	accepted(t, s, c)

	none := c.Clone()
	none.Certificates = nil
	refused(t, s, none, "certificate")

	b := newAuthority(t, "ca") // of the same name
	foreign := b.folder()
	b.server(foreign)
	b.client(foreign, "hosta")
	_, other := ends(t, foreign)
	other.RootCAs = c.RootCAs
	// Go's client holds back a certificate of an authority that the server does not
	// name; others do not.
	cert := other.Certificates[0]
	other.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	refused(t, s, other, "certificate")

	old := c.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	refused(t, s, old, "version")
}

func TestServersCertificateIsNoClientsCertificate(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	a.client(dir, "hosta")
	s, c := ends(t, dir)
	c.Certificates = s.Certificates
	refused(t, s, c, "certificate")
}

func TestServerMustBeTheOneThatWasAskedFor(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	a.client(dir, "hosta")
	s, _ := ends(t, dir)
	c, err := Client(dir, "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := greet(t, s, c); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("client's error %v", err)
	}
	if _, err := Client(dir, ""); err == nil {
		t.Error("a client that does not know its server was made")
	}
}

func TestAllowListNamesClients(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	a.client(dir, "hosta")
	for _, c := range []struct {
		allow []string
		ok    bool
	}{
		{nil, true}, {[]string{"hostb", "hosta"}, true}, {[]string{"CN=hosta,O=Example"}, true},
		{[]string{"hostb"}, false}, {[]string{"host"}, false}, {[]string{"CN=hosta"}, false}, {[]string{""}, false},
	} {
		s, client := ends(t, dir, c.allow...)
		if c.ok {
			accepted(t, s, client)
		} else {
			refused(t, s, client, "not among those that are allowed")
		}
	}
}

func TestRevokedClientIsRefused(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	cert := a.client(dir, "hosta")
	s, c := ends(t, dir)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	accepted(t, s, c)
	accepted(t, s, c) // resumes
	a.revoke(dir, time.Now().Add(time.Hour), cert)
	// Neither a configuration made before nor a resumed session is a way around.
	refused(t, s, c, "revoked")
	c.ClientSessionCache = nil
	refused(t, s, c, "revoked")
	a.revoke(dir, time.Now().Add(time.Hour))
	accepted(t, s, c)
}

func TestRevokedServerIsRefused(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	cert := a.server(dir)
	a.client(dir, "hosta")
	a.revoke(dir, time.Now().Add(time.Hour), cert)
	s, c := ends(t, dir)
	if _, err := greet(t, s, c); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("client's error %v", err)
	}
}

func TestRenewedCertificateIsUsedAtOnce(t *testing.T) {
	a := newAuthority(t, "ca")
	dir := a.folder()
	a.server(dir)
	a.client(dir, "hosta")
	s, c := ends(t, dir)
	renewed := a.server(dir)
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.PeerCertificates[0].SerialNumber.Cmp(renewed.SerialNumber) != 0 {
			t.Error("the old certificate was used")
		}
		return nil
	}
	accepted(t, s, c)
}

func TestUnfitFilesAreNamed(t *testing.T) {
	foreign := newAuthority(t, "other")
	for name, c := range map[string]struct {
		spoil func(t *testing.T, a *authority, dir string)
		file  string
	}{
		"no authority":          {func(t *testing.T, _ *authority, dir string) { remove(t, dir, caCert) }, caCert},
		"no certificate":        {func(t *testing.T, _ *authority, dir string) { remove(t, dir, serverCert) }, serverCert},
		"no key":                {func(t *testing.T, _ *authority, dir string) { remove(t, dir, serverKey) }, serverKey},
		"key for everybody":     {func(t *testing.T, _ *authority, dir string) { chmod(t, filepath.Join(dir, serverKey), 0o644) }, serverKey},
		"key that is writable":  {func(t *testing.T, _ *authority, dir string) { chmod(t, filepath.Join(dir, serverKey), 0o602) }, serverKey},
		"empty authority":       {func(t *testing.T, _ *authority, dir string) { text(t, dir, caCert, "") }, caCert},
		"damaged certificate":   {func(t *testing.T, _ *authority, dir string) { text(t, dir, serverCert, "?") }, serverCert},
		"huge authority":        {func(t *testing.T, _ *authority, dir string) { text(t, dir, caCert, strings.Repeat("x", maxFile+1)) }, caCert},
		"list of another":       {func(_ *testing.T, _ *authority, dir string) { foreign.revoke(dir, time.Now().Add(time.Hour)) }, caCRL},
		"list out of date":      {func(_ *testing.T, a *authority, dir string) { a.revoke(dir, time.Now().Add(-time.Minute)) }, caCRL},
		"list that is no list":  {func(t *testing.T, _ *authority, dir string) { text(t, dir, caCRL, "none") }, caCRL},
		"key of another server": {func(_ *testing.T, a *authority, dir string) { a.pair(dir, "x", serverKey, a.cert) }, serverKey},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, "ca")
			dir := a.folder()
			a.server(dir)
			c.spoil(t, a, dir)
			if _, err := Server(dir, nil); err == nil || !strings.Contains(err.Error(), c.file) {
				t.Errorf("got %v; want an error that names %s", err, c.file)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
