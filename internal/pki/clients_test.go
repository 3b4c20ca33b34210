package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func readList(t *testing.T, text string) (Clients, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clients")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return ReadClients(file)
}

func TestClientsAreFoundWithTheirMachines(t *testing.T) {
	list, err := readList(t, `# who may pull
hosta
hostb: shop-*, db1	web?  # a customer's
CN=hostc,O=Example: shop-*
fd00::1
hostd: one
hostd: two
hoste: one
CN=hoste,O=Example
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, organisation string
		found              bool
		machines           []string
	}{
		{"hosta", "", true, nil},
		{"hostb", "", true, []string{"shop-*", "db1", "web?"}},
		{"hostb", "Example", true, []string{"shop-*", "db1", "web?"}},
		{"hostc", "Example", true, []string{"shop-*"}},
		{"hostc", "", false, nil},
		{"fd00::1", "", true, nil},
		{"fd00", "", false, nil},
		{"hostd", "", true, []string{"one", "two"}},
		{"hoste", "", true, []string{"one"}},
		{"hoste", "Example", true, nil},
		{"shop-*", "", false, nil},
		{"db1", "", false, nil},
		{"", "", false, nil},
	} {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: c.name}}
		if c.organisation != "" {
			cert.Subject.Organization = []string{c.organisation}
		}
		machines, found := list.Find(cert)
		if found != c.found || !slices.Equal(machines, c.machines) {
			t.Errorf("%s: %v, %q; want %v, %q", cert.Subject, found, machines, c.found, c.machines)
		}
	}
}

func TestLineThatCannotBeUnderstoodIsNoList(t *testing.T) {
	for line, says := range map[string]string{
		"hostb:":             "patterns of machines are expected",
		"hostb:  # none yet": "patterns of machines are expected",
		"hostb: ,":           "patterns of machines are expected",
		": shop-*":           "a client's name",
		"hostb: shop-[":      "syntax error in pattern",
		"hostb: a, b, [z-a":  "syntax error in pattern",
	} {
		list, err := readList(t, "hosta\n"+line+"\n")
		if err == nil || list != nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "clients, line 2") {
			t.Errorf("%q: %v, %v", line, list, err)
		}
	}
}
