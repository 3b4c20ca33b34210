package nbdproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pki is an authority with a server and a client certificate, as files of the names
// that libvirt, qemu and libnbd look for.
type pki struct {
	dir string
	ca  *x509.CertPool
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{dir: t.TempDir(), ca: x509.NewCertPool()}
	ca, caKey := p.issue(t, "ca", nil, nil)
	p.ca.AddCert(ca)
	p.issue(t, "server", ca, caKey)
	p.issue(t, "client", ca, caKey)
	return p
}

// issue writes NAME-cert.pem and NAME-key.pem. Without a parent they are an authority's.
func (p *pki) issue(t testing.TB, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	switch {
	case parent == nil:
		c.IsCA, c.BasicConstraintsValid = true, true
		c.KeyUsage = x509.KeyUsageCertSign
		parent, parentKey = c, key
	case name == "server":
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.DNSNames = []string{"localhost"}
	default:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + "-cert.pem": {Type: "CERTIFICATE", Bytes: der},
		name + "-key.pem":  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(p.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (p *pki) pair(t testing.TB, name string) []tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(p.dir, name+"-cert.pem"), filepath.Join(p.dir, name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{c}
}

// server returns what a server needs that lets in clients of this authority only.
func (p *pki) server(t testing.TB) *tls.Config {
	return &tls.Config{Certificates: p.pair(t, "server"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.ca, MinVersion: tls.VersionTLS13}
}

// client returns what a client needs.
func (p *pki) client(t testing.TB) *tls.Config {
	return &tls.Config{Certificates: p.pair(t, "client"), RootCAs: p.ca, ServerName: "localhost"}
}
