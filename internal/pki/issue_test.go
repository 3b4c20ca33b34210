package pki

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestIssuedCertificatesFitTogether(t *testing.T) {
	ca, dir := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "tls")
	if err := NewAuthority(ca, "ours"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []Leaf{
		{Name: "localhost", Addresses: []string{"127.0.0.1", "hosta.example.org"}, Server: true, Lifetime: time.Hour},
		{Name: "hostb", Lifetime: time.Hour},
	} {
		if err := Issue(ca, l, dir); err != nil {
			t.Fatal(err)
		}
	}
	s, c := ends(t, dir, "hostb")
	accepted(t, s, c)
	for _, name := range []string{"127.0.0.1", "hosta.example.org"} {
		if c, err := Client(dir, name); err != nil {
			t.Error(err)
		} else {
			accepted(t, s, c)
		}
	}
	// Neither stands in for the other.
	swapped := c.Clone()
	swapped.Certificates = s.Certificates
	refused(t, s, swapped, "certificate")
	foreign := s.Clone()
	foreign.GetConfigForClient, foreign.Certificates = nil, c.Certificates
	if _, err := greet(t, foreign, c); err == nil {
		t.Error("a client's certificate was taken for a server's")
	}
	for file, mode := range map[string]os.FileMode{
		dir + "/" + caCert: 0o644, dir + "/" + serverCert: 0o644, dir + "/" + serverKey: 0o600, dir + "/" + clientCert: 0o644, dir + "/" + clientKey: 0o600,
		ca + "/" + caCert: 0o644, ca + "/" + caKey: 0o600, ca: 0o700 | os.ModeDir, dir: 0o700 | os.ModeDir,
	} {
		if st, err := os.Stat(file); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}
	if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	held, err := Look(dir)
	if err != nil || len(held) != 3 || held[1].Certificate.Subject.CommonName != "localhost" || held[2].File != clientCert {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if err := NewAuthority(dir, "ours"); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, caKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := NewAuthority(dir, "ours"); err == nil || !strings.Contains(err.Error(), caCert) {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, caKey)); err != nil || string(now) != string(key) {
		t.Errorf("the key was replaced: %v", err)
	}
}

func TestNoCertificateOutlivesItsAuthority(t *testing.T) {
	dir := t.TempDir()
	if err := NewAuthority(dir, "ours"); err != nil {
		t.Fatal(err)
	}
	if err := Issue(dir, Leaf{Name: "a", Lifetime: authorityLifetime + time.Hour}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("%v", err)
	}
	if err := Issue(t.TempDir(), Leaf{Name: "a", Lifetime: time.Hour}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("without an authority: %v", err)
	}
	if _, err := Look(t.TempDir()); err == nil {
		t.Error("an empty folder has certificates")
	}
}
