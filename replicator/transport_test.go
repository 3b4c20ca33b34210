package replicator

import (
	"slices"
	"testing"
)

func TestDirectAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		seenFrom, reachedAt string
		want                []string
	}{
		"both ends here":          {"", "", nil},
		"pull":                    {"192.0.2.2", "", []string{"192.0.2.2"}},
		"push":                    {"", "192.0.2.1", []string{"192.0.2.1"}},
		"from a third host":       {"192.0.2.3", "192.0.2.1", []string{"192.0.2.1"}},
		"IPv6":                    {"2001:db8::2", "", []string{"2001:db8::2"}},
		"an address with a zone":  {"fe80::1%eth0", "", nil},
		"a zone on one side only": {"192.0.2.3", "fe80::1%eth0", []string{"192.0.2.3"}},
	} {
		got := directAddresses(&SourceView{SeenFrom: c.seenFrom}, &TargetView{ReachedAt: c.reachedAt})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestDirectIsInsistedOn(t *testing.T) {
	for name, c := range map[string]struct {
		transport Transport
		begun     Begun
		prepared  Prepared
		says      string
	}{
		"auto":               {TransportAuto, Begun{}, Prepared{}, ""},
		"connected":          {TransportDirect, Begun{Direct: true}, Prepared{}, ""},
		"refused":            {TransportDirect, Begun{NotDirect: "connection refused"}, Prepared{}, "connection refused"},
		"cannot listen":      {TransportDirect, Begun{}, Prepared{NotDirect: "no such address"}, "no such address"},
		"nowhere to connect": {TransportDirect, Begun{}, Prepared{}, "both ends are this host"},
	} {
		r := &run{req: Request{Transport: c.transport}, begun: &c.begun, prepared: &c.prepared, source: &SourceView{Name: "vm1"}}
		err := r.checkTransport()
		got := ""
		if err != nil {
			got = AsError(err).Err.Error()
		}
		if got != c.says {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestParseTransport(t *testing.T) {
	for in, want := range map[string]Transport{"": TransportAuto, "auto": TransportAuto, "direct": TransportDirect, "ssh": TransportSSH} {
		if got, err := ParseTransport(in); err != nil || got != want {
			t.Errorf("%q: got %q, error %v", in, got, err)
		}
	}
	if _, err := ParseTransport("tcp"); err == nil {
		t.Error("tcp was taken")
	}
}
