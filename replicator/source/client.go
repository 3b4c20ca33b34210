package source

import (
	"net/netip"

	"vmsync/replicator"
)

// boundDirect takes out of a client's request a direct connection to any host but the one
// that the client is at, and tells why: this host must not connect to others in its
// network because somebody with a certificate says so.
func (e *End) boundDirect(req *replicator.BeginRequest) (refused string) {
	if !e.opts.ForClient || req.Direct == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(req.Direct.Address)
	if err == nil && at.Addr().Unmap().String() == e.opts.SeenFrom {
		return ""
	}
	req.Direct = nil
	return "a source that is asked over TLS connects to nobody but who asks, which is " + e.opts.SeenFrom
}
