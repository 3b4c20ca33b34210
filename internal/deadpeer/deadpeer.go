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

// Limit is how long a peer may be silent although it was asked for a sign of life.
const Limit = 30 * time.Second

// KeepAlive makes the kernel ask an idle peer for signs of life and cut the
// connection after [Limit] without one. It is for [net.Dialer] and
// [net.ListenConfig].
func KeepAlive() net.KeepAliveConfig {
	const count = 4
	return net.KeepAliveConfig{Enable: true, Idle: Limit / 3, Interval: Limit * 2 / 3 / count, Count: count}
}
