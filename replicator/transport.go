package replicator

import (
	"cmp"
	"errors"
	"strings"

	"vmsync/internal/event"
	"vmsync/internal/transport"
)

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
	if r.req.Transport == transport.SSH || len(addresses) == 0 {
		return nil
	}
	return &ListenDirect{Addresses: addresses, Certificate: r.source.Certificate}
}

// checkTransport insists on a direct connection where the user does.
func (r *run) checkTransport() error {
	if r.req.Transport != transport.Direct || r.begun.Direct {
		return nil
	}
	way, why := r.way()
	if way == event.TransportLocal {
		why = "both ends are this host"
	}
	return &Error{Kind: KindPeer, Domain: r.source.Name, Op: "connect source and target directly",
		Hint: "open a port of 49152 to 49215 on the target for the source, or leave out --transport direct",
		Err:  errors.New(why)}
}

// way is how the stream goes, as one of event's transports, and why it does not go
// directly where that was wanted.
func (r *run) way() (way, notDirect string) {
	if r.begun.Direct {
		return event.TransportDirect, ""
	}
	near := cmp.Or(r.target.ReachedAt, r.source.SeenFrom)
	if near == "" {
		return event.TransportLocal, ""
	}
	relayed := event.TransportSSH
	if r.source.OverTLS {
		relayed = event.TransportTLS
	}
	if r.req.Transport == transport.SSH {
		return relayed, ""
	}
	return relayed, cmp.Or(r.begun.NotDirect, r.prepared.NotDirect, "the address "+near+" means something else on the other host")
}
