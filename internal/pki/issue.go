package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// caKey is the authority's key, which only the folder of the authority has.
const caKey = "ca-key.pem"

// authorityLifetime is that of an authority's certificate: replacing it means to visit
// every host.
const authorityLifetime = 10 * 365 * 24 * time.Hour

// skew is how far hosts' clocks may differ: certificates are valid from so long before.
const skew = time.Hour

// NewAuthority makes an authority in the folder dir: its certificate and its key. The
// folder is made, or must have neither.
func NewAuthority(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range []string{caCert, caKey} {
		if _, err := os.Lstat(filepath.Join(dir, f)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s has a %s already: an authority is made once, and all certificates are issued by it", dir, f)
		}
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, MaxPathLenZero: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(template, authorityLifetime, nil, dir, caCert, caKey)
}

// Leaf is what a certificate is to be issued for.
type Leaf struct {
	Name      string   // common name: of a server its host name, of a client what it is known by
	Addresses []string // of a server: more host names and IP addresses by which it is reached
	Server    bool     // or else a client
	Lifetime  time.Duration
}

// Issue has the authority in the folder dir make a key and a certificate, and puts them into
// the folder to, with the authority's certificate, under the names that [Server] and
// [Client] read. What is there under these names is replaced.
func Issue(dir string, leaf Leaf, to string) error {
	ca, err := readPair(filepath.Join(dir, caCert), filepath.Join(dir, caKey))
	if err != nil {
		return fmt.Errorf("the authority: %w", err)
	}
	if until := ca.Leaf.NotAfter; time.Now().Add(leaf.Lifetime).After(until) {
		return fmt.Errorf("the authority itself is valid until %s only: ask for a shorter time, or make a new one", until.UTC().Format(time.DateOnly))
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: leaf.Name}, KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	certFile, keyFile := clientCert, clientKey
	if leaf.Server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		certFile, keyFile = serverCert, serverKey
		for _, a := range append([]string{leaf.Name}, leaf.Addresses...) {
			if ip := net.ParseIP(a); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, a)
			}
		}
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate[0]})
	if err := replace(filepath.Join(to, caCert), authority, 0o644); err != nil {
		return err
	}
	return issue(template, leaf.Lifetime, &ca, to, certFile, keyFile)
}

// issue makes a key, completes and signs its certificate, by itself if there is no
// authority, and writes both.
func issue(c *x509.Certificate, lifetime time.Duration, by *tls.Certificate, dir, certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-skew), time.Now().Add(lifetime)
	parent, signer := c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		replace(filepath.Join(dir, certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644))
}

// replace writes a file whole or not at all, with its mode from its first moment.
func replace(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Held is a certificate of a folder.
type Held struct {
	File        string // its name in the folder
	Certificate *x509.Certificate
}

// Look reads the certificates of a folder, of which any may be missing, without their
// keys.
func Look(dir string) ([]Held, error) {
	var all []Held
	for _, name := range []string{caCert, serverCert, clientCert} {
		b, err := read(filepath.Join(dir, name), 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := eachPEM(b, "CERTIFICATE", func(der []byte) error {
			c, err := x509.ParseCertificate(der)
			if err == nil {
				all = append(all, Held{name, c})
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no certificates in %s", dir)
	}
	return all, nil
}
