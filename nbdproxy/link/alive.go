package link

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A peer that has not been heard of for silence is dead. A link that was away for
// 10 s may stay silent for twice that: the kernel tries again at doubling intervals.
const (
	silence    = 27 * time.Second
	probeAfter = 12 * time.Second
	probeEvery = 5 * time.Second
	probes     = 3 // probeAfter + probes*probeEvery is silence
	lookEvery  = 2 * time.Second
)

// keepAlive makes the kernel probe a peer from which nothing is due, and fail the
// connection when none of the probes is answered.
func keepAlive(sock *net.TCPConn) error {
	return sock.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: probes})
}

// WatchAlive calls dead when a peer that owes an acknowledgement has been silent for
// too long, which keep-alive probes do not cover: the kernel itself would go on for a
// quarter of an hour. A peer that is alive but takes nothing answers all the
// same. The returned function ends the watch and waits for it.
func WatchAlive(ctx context.Context, conns []*Conn, dead func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g group
	g.start(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, c := range conns {
				if quiet := c.owedFor(); quiet > silence {
					dead(fmt.Errorf("nothing was heard from %s for %v", c.wire.RemoteAddr(), quiet.Round(time.Second)))
					return
				}
			}
		}
	})
	return func() { cancel(); g.wait() }
}

// owedFor is how long the peer has been silent although an acknowledgement is due.
func (c *Conn) owedFor() time.Duration {
	if c.tls == nil {
		return 0
	}
	var info *unix.TCPInfo
	err := c.wire.raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || info == nil || info.Unacked == 0 && info.Probes == 0 {
		return 0
	}
	return time.Duration(info.Last_ack_recv) * time.Millisecond
}

// group is goroutines that are waited for.
type group struct{ wg sync.WaitGroup }

func (g *group) start(f func()) { g.wg.Go(f) }
func (g *group) wait()          { g.wg.Wait() }
