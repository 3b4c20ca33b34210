// Package deadpeer notices that the other end of a TCP connection is gone: its host
// crashed, or the link between the two is down for good.
//
// It must never take a peer that is merely slow for a dead one. For that reason it
// does not use TCP_USER_TIMEOUT, which also cuts a peer that answers but has no
// room for more.
package deadpeer

import (
	"net"
	"time"
)

// Limit is how long a peer may be silent although it owes a sign of life. A link that
// was away for 10 s may stay silent for twice that: the kernel tries again at
// doubling intervals.
const Limit = 27 * time.Second

// KeepAlive makes the kernel ask an idle peer for signs of life and cut the
// connection after [Limit] without one. It is for [net.Dialer], [net.ListenConfig] and
// [net.TCPConn.SetKeepAliveConfig]. While data is on its way the kernel does not ask: that
// is for [Watch].
func KeepAlive() net.KeepAliveConfig {
	const (
		idle  = 12 * time.Second
		count = 3
	)
	return net.KeepAliveConfig{Enable: true, Idle: idle, Interval: (Limit - idle) / count, Count: count}
}
