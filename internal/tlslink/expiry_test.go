package tlslink

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/internal/pki"
)

func TestCertificatesThatEndSoonAreTold(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t, "hostb\n")
	w.issue(pki.Leaf{Name: "localhost", Server: true, Lifetime: 60 * day}, w.server)
	w.issue(pki.Leaf{Name: "hostb", Lifetime: 400 * day}, w.me)
	conn, _, err := w.dialer().Dial(t.Context(), Request{Purpose: Agent})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const server, client, authority = `vmsync tls issue localhost --server`, `vmsync tls issue hostb --client`, `vmsync tls ca`
	for _, c := range []struct {
		in   time.Duration
		want []string
	}{
		{0, nil},
		{44 * day, nil}, // more than a quarter of its time is left
		{46 * day, []string{server}},
		{369 * day, []string{server}},
		{371 * day, []string{client, server}},
		{10*365*day - 31*day, []string{client, server}},
		{10*365*day - 29*day, []string{client, server, authority}},
	} {
		said := w.dialer().Expiring(conn, time.Now().Add(c.in))
		if !slices.EqualFunc(said, c.want, strings.HasSuffix) {
			t.Errorf("in %d days: %q, want %q", c.in/day, said, c.want)
		}
		for _, s := range said {
			if !strings.Contains(s, "valid until 2") {
				t.Error(s)
			}
		}
	}
}
