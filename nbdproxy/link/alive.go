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
	lookEvery  = time.Second
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
	debts := make([]debt, len(conns))
	g.start(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for i, c := range conns {
				owes, lastHeard := c.owes()
				if quiet := debts[i].silence(time.Now(), owes, lastHeard); quiet > silence {
					dead(fmt.Errorf("nothing was heard from %s for %v", c.wire.RemoteAddr(), quiet.Round(time.Second)))
					return
				}
			}
		}
	})
	return func() { cancel(); g.wait() }
}

// debt is what a peer owes, seen at intervals.
type debt struct{ since time.Time }

// silence is how long the peer has not been heard although it owed an acknowledgement
// all the time. Neither alone says that it is dead: one that owes nothing is not heard
// for long, and one that takes nothing is asked, and answers, every two minutes at most.
func (d *debt) silence(now time.Time, owes bool, lastHeard time.Duration) time.Duration {
	if !owes {
		d.since = time.Time{}
		return 0
	}
	if d.since.IsZero() {
		d.since = now
	}
	return min(lastHeard, now.Sub(d.since))
}

// owes tells whether an acknowledgement is due, and how long ago the peer was last
// heard.
func (c *Conn) owes() (owes bool, lastHeard time.Duration) {
	if c.tls == nil {
		return false, 0
	}
	var info *unix.TCPInfo
	err := c.wire.raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || info == nil {
		return false, 0
	}
	return info.Unacked > 0 || info.Probes > 0, time.Duration(info.Last_ack_recv) * time.Millisecond
}

// group is goroutines that are waited for.
type group struct{ wg sync.WaitGroup }

func (g *group) start(f func()) { g.wg.Go(f) }
func (g *group) wait()          { g.wg.Wait() }
