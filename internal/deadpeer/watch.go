package deadpeer

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// period is how often connections are looked at.
const period = time.Second

// Watch calls dead when the peer of one of the TCP connections conns, the i-th, has been
// quiet for longer than [Limit] although it owed an acknowledgement: then the kernel sends no
// keep-alive probes, and would go on sending data for a quarter of an hour. It calls dead once
// at most. The returned function ends the watch and waits for it; dead must not call it.
func Watch(ctx context.Context, conns []syscall.RawConn, dead func(i int, quiet time.Duration)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		debts := make([]debt, len(conns))
		tick := time.NewTicker(period)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for i, c := range conns {
				owes, lastHeard := look(c)
				if quiet := debts[i].silence(time.Now(), owes, lastHeard); quiet > Limit {
					dead(i, quiet)
					return
				}
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// look tells whether a connection's peer owes an acknowledgement, of data or of a probe for
// room, and how long ago it was last heard. One whose socket is closed owes nothing.
func look(c syscall.RawConn) (owes bool, lastHeard time.Duration) {
	var info *unix.TCPInfo
	err := c.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || info == nil {
		return false, 0
	}
	return info.Unacked > 0 || info.Probes > 0, time.Duration(info.Last_ack_recv) * time.Millisecond
}
