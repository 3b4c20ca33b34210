// Package pin makes TLS connections between two programs that know each other's
// certificates beforehand: each makes a certificate for one run, tells the other
// over a channel that is safe already, and then trusts that one certificate and
// nothing else.
//
// It must never fall back to certificates of the system, and a private key never
// leaves the host it was made on.
package pin

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
	"math/big"
	"time"
)

// name is what every certificate is made out to. What distinguishes one from
// another is its key.
const name = "vmsync"

// lifetime is long because it protects nothing: a certificate is forgotten with the
// run that made it, and hosts' clocks may differ.
const lifetime = 10 * 365 * 24 * time.Hour

// Identity is a certificate with its private key, both in PEM.
type Identity struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// New makes an identity.
func New() (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Identity{}, fmt.Errorf("making a certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-lifetime), NotAfter: now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("making a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("encoding a key: %w", err)
	}
	return Identity{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
	}, nil
}

// Server accepts the holder of the peer's key and nobody else.
func (i Identity) Server(peer string) (*tls.Config, error) {
	c, pool, err := i.config(peer)
	if err != nil {
		return nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return c, nil
}

// Client accepts the holder of the peer's key and nobody else.
func (i Identity) Client(peer string) (*tls.Config, error) {
	c, pool, err := i.config(peer)
	if err != nil {
		return nil, err
	}
	c.RootCAs, c.ServerName = pool, name
	return c, nil
}

func (i Identity) config(peer string) (*tls.Config, *x509.CertPool, error) {
	own, err := tls.X509KeyPair([]byte(i.Certificate), []byte(i.Key))
	if err != nil {
		return nil, nil, fmt.Errorf("own certificate: %w", err)
	}
	block, rest := pem.Decode([]byte(peer))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, nil, errors.New("the peer's certificate is not one certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("the peer's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
		// A certificate may sign others, or it could not be its own root; those others
		// are not the peer.
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) != 1 || !s.PeerCertificates[0].Equal(cert) {
				return errors.New("the peer has another certificate than the one it announced")
			}
			return nil
		},
	}, pool, nil
}
