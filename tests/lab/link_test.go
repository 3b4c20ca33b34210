package lab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// stream sends n bytes from hosta to op and returns how long it took until op
// had all of them.
func stream(t *testing.T, n int64) time.Duration {
	t.Helper()
	a, op := host(t, "hosta"), host(t, "op")
	l, err := op.Listen(t.Context(), "tcp", op.Addr()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- 0
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	start := time.Now()
	c, err := a.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(c, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if m := <-got; m != n {
		t.Fatalf("%d of %d bytes arrived", m, n)
	}
	return time.Since(start)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func setLink(t *testing.T, h *lab.Host, l lab.Link) {
	t.Helper()
	if err := h.SetLink(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// connectTime is how long a TCP handshake with sshd takes: a round trip.
func connectTime(t *testing.T, from, to *lab.Host) time.Duration {
	t.Helper()
	start := time.Now()
	c, err := from.Dial(t.Context(), "tcp", net.JoinHostPort(to.Addr(), "22"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return time.Since(start)
}

func TestRateIsALowerBoundOfTheTime(t *testing.T) {
	a := host(t, "hosta")
	defer setLink(t, a, lab.Link{})
	const bytes = 10 << 20
	for _, l := range []lab.Link{
		{Rate: 200e6}, {Rate: 80e6},
		// The second is set on the living wire.
		{Rate: 200e6, RTT: time.Millisecond}, {Rate: 80e6, RTT: time.Millisecond},
	} {
		setLink(t, a, l)
		took := stream(t, bytes)
		t.Logf("%+v: measured %.1f Mbit/s", l, bytes*8/took.Seconds()/1e6)
		if least := time.Duration(float64(bytes*8) / float64(l.Rate) * 0.97 * float64(time.Second)); took < least {
			t.Errorf("%d bytes over %+v took %v, less than %v", bytes, l, took, least)
		}
	}
	setLink(t, a, lab.Link{})
	t.Logf("without limits: %.0f Mbit/s", bytes*80/stream(t, 10*bytes).Seconds()/1e6)
}

func TestRTTIsALowerBoundOfAHandshake(t *testing.T) {
	a, b := host(t, "hosta"), host(t, "hostb")
	defer setLink(t, a, lab.Link{})
	setLink(t, a, lab.Link{RTT: 60 * time.Millisecond})
	for _, d := range []time.Duration{connectTime(t, a, b), connectTime(t, b, a)} {
		t.Logf("handshake: %v", d)
		if d < 60*time.Millisecond {
			t.Errorf("handshake took %v over a link with a round trip of 60 ms", d)
		}
	}
}

func TestLossyLinkLosesPacketsNotBytes(t *testing.T) {
	a := host(t, "hosta")
	defer setLink(t, a, lab.Link{})
	setLink(t, a, lab.Link{Loss: 0.02})
	before := retransmits(t, a)
	t.Logf("10 MiB in %v", stream(t, 10<<20)) // some 7000 packets
	if after := retransmits(t, a); after <= before {
		t.Errorf("no packet was sent again: counter %d, then %d", before, after)
	}
}

func TestCutLinkStallsAndMends(t *testing.T) {
	a, op := host(t, "hosta"), host(t, "op")
	for _, l := range []lab.Link{{}, {Rate: 1e9}, {Rate: 1e9, RTT: time.Millisecond}} {
		setLink(t, a, l)
		c, err := op.Dial(t.Context(), "tcp", net.JoinHostPort(a.Addr(), "22"))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Link(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = op.Dial(ctx, "tcp", net.JoinHostPort(a.Addr(), "22"))
		cancel()
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%+v: connecting over a cut link: %v, want a timeout", l, err)
		}
		if err := a.Link(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		// The old connection goes on.
		c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadAtLeast(c, make([]byte, 64), 4); err != nil {
			t.Errorf("%+v: read after the outage: %v", l, err)
		}
		c.Close()
	}
	setLink(t, a, lab.Link{})
}
