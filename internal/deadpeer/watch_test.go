package deadpeer

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyASilentPeerIsDead(t *testing.T) {
	for _, c := range []struct {
		name string
		info unix.TCPInfo
		want bool
	}{
		{"fresh", unix.TCPInfo{}, false},
		{"idle for long", unix.TCPInfo{Last_ack_recv: 3_600_000}, false},
		{"data under way, not yet repeated", unix.TCPInfo{Unacked: 5, Last_ack_recv: 3_600_000}, false},
		{"repeated, but heard of lately", unix.TCPInfo{Unacked: 5, Retransmits: 4, Last_ack_recv: 12_000}, false},
		{"repeated and silent", unix.TCPInfo{Unacked: 5, Retransmits: 7, Last_ack_recv: 30_000}, true},
		{"no room, probe on its way", unix.TCPInfo{Probes: 1, Last_ack_recv: 120_000}, false},
		{"no room, a probe lost", unix.TCPInfo{Probes: 2, Last_ack_recv: 120_000}, false},
		{"no room, silent", unix.TCPInfo{Probes: 3, Last_ack_recv: 31_000}, true},
		{"no room, probes unanswered for a moment", unix.TCPInfo{Probes: 5, Last_ack_recv: 8_000}, false},
	} {
		if got := dead(&c.info); got != c.want {
			t.Errorf("%s: dead is %v", c.name, got)
		}
	}
}

func TestWatchedConnectionWorksAndEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Watch(accepted.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.Close(); err != nil { // waits for the watch
		t.Fatal(err)
	}
	if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	_ = c.Close()
}
