package link

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"vmsync/internal/deadpeer"
)

// WatchAlive calls dead when the peer of a TLS connection has died without a word. Behind a
// unix socket is a process of this host, whose end the kernel tells. The returned function
// ends the watch and waits for it.
func WatchAlive(ctx context.Context, conns []*Conn, dead func(error)) (stop func()) {
	var direct []syscall.RawConn
	var peers []net.Addr
	for _, c := range conns {
		if c.tls != nil {
			direct, peers = append(direct, c.wire.raw), append(peers, c.wire.RemoteAddr())
		}
	}
	return deadpeer.Watch(ctx, direct, func(i int, quiet time.Duration) {
		dead(fmt.Errorf("nothing was heard from %s for %v", peers[i], quiet.Round(time.Second)))
	})
}
