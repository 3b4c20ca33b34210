package replicator

import (
	"slices"
	"testing"

	"vmsync/internal/event"
	"vmsync/internal/transport"
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

func TestWayOfTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		transport transport.Transport
		reachedAt string
		begun     Begun
		prepared  Prepared
		way, why  string
		insisted  string // error's text with transport.Direct
	}{
		"connected":          {transport.Auto, "192.0.2.1", Begun{Direct: true}, Prepared{}, event.TransportDirect, "", ""},
		"refused":            {transport.Auto, "192.0.2.1", Begun{NotDirect: "refused"}, Prepared{}, event.TransportSSH, "refused", "refused"},
		"cannot listen":      {transport.Auto, "192.0.2.1", Begun{}, Prepared{NotDirect: "no such address"}, event.TransportSSH, "no such address", "no such address"},
		"both ends are here": {transport.Auto, "", Begun{}, Prepared{}, event.TransportLocal, "", "both ends are this host"},
		"a zone": {transport.Auto, "fe80::1%eth0", Begun{}, Prepared{}, event.TransportSSH,
			"the address fe80::1%eth0 means something else on the other host", "the address fe80::1%eth0 means something else on the other host"},
		"SSH was asked for": {transport.SSH, "192.0.2.1", Begun{}, Prepared{}, event.TransportSSH, "", ""},
	} {
		r := &run{req: Request{Transport: c.transport}, begun: &c.begun, prepared: &c.prepared,
			source: &SourceView{Name: "vm1"}, target: &TargetView{ReachedAt: c.reachedAt}}
		if err := r.checkTransport(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if way, why := r.way(); way != c.way || why != c.why {
			t.Errorf("%s: %s, %q", name, way, why)
		}
		if c.transport == transport.SSH {
			continue
		}
		r.req.Transport = transport.Direct
		got := ""
		if err := r.checkTransport(); err != nil {
			got = AsError(err).Err.Error()
		}
		if got != c.insisted {
			t.Errorf("%s: insisting on direct says %q", name, got)
		}
	}
}
