package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// trust is what certificates are checked against.
type trust struct {
	roots *x509.CertPool
	lists []*x509.RevocationList // each signed by one of the roots
}

func readTrust(dir string) (*trust, error) {
	path := filepath.Join(dir, caCert)
	b, err := read(path, 0)
	if err != nil {
		return nil, err
	}
	t := &trust{roots: x509.NewCertPool()}
	var authorities []*x509.Certificate
	err = eachPEM(b, "CERTIFICATE", func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		t.roots.AddCert(c)
		authorities = append(authorities, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(dir, caCRL)
	if b, err = read(path, 0); errors.Is(err, fs.ErrNotExist) {
		return t, nil
	} else if err != nil {
		return nil, err
	}
	err = eachPEM(b, "X509 CRL", func(der []byte) error {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		if err := checkList(l, authorities, time.Now()); err != nil {
			return err
		}
		t.lists = append(t.lists, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// eachPEM calls f for each block, at least one, of a kind; there must be no others.
func eachPEM(b []byte, kind string, f func(der []byte) error) error {
	for n := 0; ; n++ {
		block, rest := pem.Decode(b)
		switch {
		case block == nil && n > 0:
			return nil
		case block == nil:
			return fmt.Errorf("no PEM block %q", kind)
		case block.Type != kind:
			return fmt.Errorf("PEM block %q where %q was expected", block.Type, kind)
		}
		if err := f(block.Bytes); err != nil {
			return err
		}
		b = rest
	}
}

// checkList makes sure that a revocation list is genuine and not out of date: an old
// one may lack whom the authority has revoked since.
func checkList(l *x509.RevocationList, authorities []*x509.Certificate, now time.Time) error {
	signed := false
	for _, a := range authorities {
		signed = signed || l.CheckSignatureFrom(a) == nil
	}
	if !signed {
		return fmt.Errorf("the revocation list of %q is not signed by an authority of %s", l.Issuer, caCert)
	}
	if !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
		return fmt.Errorf("the revocation list of %q is out of date since %s: get a new one from the authority",
			l.Issuer, l.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// notRevoked fails unless one of the chains has no revoked certificate.
func (t *trust) notRevoked(chains [][]*x509.Certificate) error {
	err := errors.New("the peer's certificate was not verified")
	for _, chain := range chains {
		if err = t.chainNotRevoked(chain); err == nil {
			return nil
		}
	}
	return err
}

func (t *trust) chainNotRevoked(chain []*x509.Certificate) error {
	for _, c := range chain {
		for _, l := range t.lists {
			if string(l.RawIssuer) != string(c.RawIssuer) {
				continue
			}
			for _, r := range l.RevokedCertificateEntries {
				if r.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("the certificate of %q was revoked at %s", c.Subject, r.RevocationTime.UTC().Format(time.RFC3339))
				}
			}
		}
	}
	return nil
}
