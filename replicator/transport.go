package replicator

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"vmsync/internal/event"
)

// Transport is how the stream gets from source to target.
type Transport string

// Transports.
const (
	// TransportAuto is direct where the hosts reach each other, SSH elsewhere.
	TransportAuto Transport = "auto"
	// TransportDirect is TLS from host to host.
	TransportDirect Transport = "direct"
	// TransportSSH goes through the controller and its SSH connections.
	TransportSSH Transport = "ssh"
)

// ParseTransport reads a transport; the empty string is [TransportAuto].
func ParseTransport(s string) (Transport, error) {
	switch t := Transport(s); t {
	case "":
		return TransportAuto, nil
	case TransportAuto, TransportDirect, TransportSSH:
		return t, nil
	}
	return "", fmt.Errorf("unknown transport %q: use auto, direct or ssh", s)
}

// lanes is how many connections carry the stream. One SSH channel moves at most its
// window of 2 MiB in a round trip, and one connection's encryption keeps no more than
// one processor busy.
const lanes = 4

// directAddresses are those that the target may be reached at from the source: the
// one that the controller reached it at, or, where the target is the controller's own
// host, the one that the source saw the controller come from. There is none where
// both ends are the controller's host.
func directAddresses(source *SourceView, target *TargetView) []string {
	for _, addr := range []string{target.ReachedAt, source.SeenFrom} {
		// An address with a zone means something else on every host.
		if addr != "" && !strings.Contains(addr, "%") {
			return []string{addr}
		}
	}
	return nil
}

// listenDirect is what the target is asked for.
func (r *run) listenDirect() *ListenDirect {
	addresses := directAddresses(r.source, r.target)
	if r.req.Transport == TransportSSH || len(addresses) == 0 {
		return nil
	}
	return &ListenDirect{Addresses: addresses, Certificate: r.source.Certificate}
}

// checkTransport insists on a direct connection where the user does.
func (r *run) checkTransport() error {
	if r.req.Transport != TransportDirect || r.begun.Direct {
		return nil
	}
	transport, why := r.way()
	if transport == event.TransportLocal {
		why = "both ends are this host"
	}
	return &Error{Kind: KindPeer, Domain: r.source.Name, Op: "connect source and target directly",
		Hint: "open a port of 49152 to 49215 on the target for the source, or leave out --transport direct",
		Err:  errors.New(why)}
}

// way is how the stream goes, as one of event's transports, and why it does not go
// directly where that was wanted.
func (r *run) way() (transport, notDirect string) {
	if r.begun.Direct {
		return event.TransportDirect, ""
	}
	near := cmp.Or(r.target.ReachedAt, r.source.SeenFrom)
	if near == "" {
		return event.TransportLocal, ""
	}
	if r.req.Transport == TransportSSH {
		return event.TransportSSH, ""
	}
	return event.TransportSSH, cmp.Or(r.begun.NotDirect, r.prepared.NotDirect, "the address "+near+" means something else on the other host")
}
