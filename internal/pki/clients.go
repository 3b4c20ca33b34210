package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Clients reads a list of clients that are let in: one common name or distinguished
// name ("CN=hostb,O=Example") on each line, # begins a comment. A list that is not
// there has nobody. One that others may write to is an error.
func Clients(path string) ([]string, error) {
	b, err := read(path, 0o002)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	return names, nil
}

// Listed says whether a certificate, which is valid, is that of a client on a list.
func Listed(c *x509.Certificate, clients []string) bool {
	return len(clients) > 0 && allowed(c, clients) == nil
}

// Describe says of a certificate whose it is, by which authority, and until when.
func Describe(c *x509.Certificate) string {
	return fmt.Sprintf("%q (authority %q, valid until %s)", c.Subject, c.Issuer, c.NotAfter.UTC().Format("2006-01-02 15:04 MST"))
}
