package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
)

// Listed is who is let in.
type Listed struct {
	Name string // common or distinguished name of its certificate, "CN=hostb,O=Example"
	// Machines are patterns, of [path.Match], of the names of the machines that it gets;
	// all if empty.
	Machines []string
}

// Clients is a list of clients that are let in.
type Clients []Listed

// ReadClients reads a list of clients that are let in: a name on each line, then, if it is not to
// get every machine, a colon, a space and patterns, with commas or spaces between them; #
// begins a comment. A list that is not there has nobody. One that others may write to is an
// error, and so is one with a line that cannot be understood: it might be a bound.
func ReadClients(file string) (Clients, error) {
	b, err := read(file, 0o002)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all Clients
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		c, err := parseClient(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// parseClient reads a line that is neither empty nor a comment.
func parseClient(line string) (Listed, error) {
	// A name may have colons, as an IPv6 address has.
	name, patterns, bounded := strings.Cut(line+" ", ": ")
	c := Listed{Name: strings.TrimSpace(name)}
	if !bounded {
		return c, nil
	}
	c.Machines = strings.FieldsFunc(patterns, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if c.Name == "" || len(c.Machines) == 0 {
		return c, fmt.Errorf("%q: a client's name and patterns of machines are expected, as in \"hostb: shop-*, db1\"", line)
	}
	for _, p := range c.Machines {
		if _, err := path.Match(p, ""); err != nil {
			return c, fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return c, nil
}

// Find tells whether a certificate, which is valid, is that of a client on the list, and
// which machines it gets, as in [Listed]. One that is there twice gets those of both lines.
func (l Clients) Find(c *x509.Certificate) (machines []string, found bool) {
	all := false
	for _, client := range l {
		if allowed(c, []string{client.Name}) == nil {
			found = true
			all = all || len(client.Machines) == 0
			machines = append(machines, client.Machines...)
		}
	}
	if all {
		machines = nil
	}
	return machines, found
}

// Describe says of a certificate whose it is, by which authority, and until when.
func Describe(c *x509.Certificate) string {
	return fmt.Sprintf("%q (authority %q, valid until %s)", c.Subject, c.Issuer, c.NotAfter.UTC().Format("2006-01-02 15:04 MST"))
}
