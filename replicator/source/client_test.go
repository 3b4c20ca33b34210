package source

import (
	"testing"

	"vmsync/replicator"
)

func TestClientHasTheStreamSentToItselfOnly(t *testing.T) {
	for name, c := range map[string]struct {
		seenFrom, to string
		client, ok   bool
	}{
		"to itself":              {"192.0.2.1", "192.0.2.1:49152", true, true},
		"to itself, mapped":      {"192.0.2.1", "[::ffff:192.0.2.1]:49152", true, true},
		"to itself, IPv6":        {"2001:db8::1", "[2001:db8::1]:49152", true, true},
		"to another host":        {"192.0.2.1", "192.0.2.2:49152", true, false},
		"to a name":              {"192.0.2.1", "hostb:49152", true, false},
		"to the source itself":   {"192.0.2.1", "127.0.0.1:22", true, false},
		"to nothing":             {"192.0.2.1", "", true, false},
		"not known where it is":  {"", ":49152", true, false},
		"reached through SSH":    {"192.0.2.1", "192.0.2.2:49152", false, true},
		"without any connection": {"", "192.0.2.2:49152", false, true},
	} {
		e := &End{opts: Options{ForClient: c.client, SeenFrom: c.seenFrom}}
		req := replicator.BeginRequest{Direct: &replicator.DirectTarget{Address: c.to}}
		why := e.boundDirect(&req)
		if (req.Direct != nil) != c.ok || (why == "") != c.ok {
			t.Errorf("%s: %+v, %q", name, req.Direct, why)
		}
	}
	e := &End{opts: Options{ForClient: true, SeenFrom: "192.0.2.1"}}
	if why := e.boundDirect(&replicator.BeginRequest{}); why != "" {
		t.Errorf("nothing was asked for: %q", why)
	}
}
