// Package pki makes TLS configurations of the files that libvirt and qemu use,
// under their names: ca-cert.pem, ca-crl.pem if there is one, server-cert.pem and
// server-key.pem for a server, client-cert.pem and client-key.pem for a client.
//
// Both ends show a certificate, and TLS is 1.3. It must never let in a peer whose
// certificate it could not check in full: a revocation list that is out of date, or
// a key that everybody can read, is an error.
package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// The files of a folder.
const (
	caCert     = "ca-cert.pem"
	caCRL      = "ca-crl.pem"
	serverCert = "server-cert.pem"
	serverKey  = "server-key.pem"
	clientCert = "client-cert.pem"
	clientKey  = "client-key.pem"
)

// maxFile bounds each file, in bytes.
const maxFile = 1 << 20

// Server is the configuration of a server whose files are in the folder dir.
// Clients have to show a certificate of the authority; if allow is not empty, one
// whose common name or distinguished name ("CN=hosta,O=Example") is in it. The
// files are read anew for every connection, so that renewed certificates and new
// revocations count at once.
func Server(dir string, allow []string) (*tls.Config, error) {
	c, err := server(dir, allow)
	if err != nil {
		return nil, err
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return server(dir, allow) }
	return c, nil
}

func server(dir string, allow []string) (*tls.Config, error) {
	t, err := readTrust(dir)
	if err != nil {
		return nil, err
	}
	cert, err := readPair(filepath.Join(dir, serverCert), filepath.Join(dir, serverKey))
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    t.roots,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		// Unlike VerifyPeerCertificate this is called for resumed connections as well.
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := t.notRevoked(s.VerifiedChains); err != nil {
				return err
			}
			return allowed(s.PeerCertificates[0], allow)
		},
	}, nil
}

// Client is the configuration of a client whose files are in the folder dir. The
// server's certificate has to be of the authority and for the name serverName,
// a host name or an IP address.
func Client(dir, serverName string) (*tls.Config, error) {
	if serverName == "" {
		return nil, errors.New("a TLS client needs the name of its server")
	}
	t, err := readTrust(dir)
	if err != nil {
		return nil, err
	}
	cert, err := readPair(filepath.Join(dir, clientCert), filepath.Join(dir, clientKey))
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Certificates:     []tls.Certificate{cert},
		RootCAs:          t.roots,
		ServerName:       serverName,
		VerifyConnection: func(s tls.ConnectionState) error { return t.notRevoked(s.VerifiedChains) },
	}, nil
}

// allowed decides on a certificate that is valid.
func allowed(c *x509.Certificate, allow []string) error {
	if len(allow) == 0 || slices.Contains(allow, c.Subject.CommonName) || slices.Contains(allow, c.Subject.String()) {
		return nil
	}
	return fmt.Errorf("the client %q is not among those that are allowed", c.Subject)
}

// readPair reads a certificate and its key.
func readPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := read(certFile, 0)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := read(keyFile, 0o006)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// read reads a file that has none of the mode bits of forbidden.
func read(path string, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); mode&forbidden != 0 {
		return nil, fmt.Errorf("%s is open to everybody (mode %04o): chmod o-rwx it, and replace a key that others may have read", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, nil
}
