package session_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"vmsync/internal/pin"
	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// connect starts both ends and whatever is between them. wire returns the bytes that
// were relayed, in the end; -1 if none were.
func (l *lab) connect(s spec.Serve, a spec.Apply) (serve, apply *process, wire func() int64) {
	l.t.Helper()
	s.Lanes, a.Lanes = l.way.lanes, l.way.lanes
	if l.way.direct {
		own := identity(l.t)
		a.Direct = &spec.Direct{Addresses: []string{"127.0.0.1"}, Certificate: own.Certificate}
		apply = start(l.t, session.Apply, a)
		ready := apply.awaitReady()
		s.Connect = &spec.Connect{Addresses: []string{ready.Address}, Certificate: ready.Certificate, Identity: own}
		serve = start(l.t, session.Serve, s)
		if ready := serve.awaitReady(); !ready.Connected {
			l.t.Fatalf("not connected: %s", ready.Why)
		}
		return serve, apply, func() int64 { return -1 }
	}
	serve, apply = start(l.t, session.Serve, s), start(l.t, session.Apply, a)
	serve.awaitReady()
	apply.awaitReady()
	waits := make([]func() int64, max(1, l.way.lanes))
	for i := range waits {
		waits[i] = relay(l.t, s.Listen, a.Listen)
	}
	return serve, apply, func() int64 {
		var n int64
		for _, wait := range waits {
			n += wait()
		}
		return n
	}
}

func identity(t testing.TB) pin.Identity {
	t.Helper()
	own, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// direct makes documents for one disk of 8 MiB whose stream goes from host to host.
// same, at the end, compares what was sent with what came.
func direct(l *lab) (s spec.Serve, a spec.Apply, same func()) {
	l.t.Helper()
	const size = 8 * mib
	x := transfer{name: "vda", from: l.image("src", size, "write -q -P 1 0 8M"), to: l.image("dst", size), size: size}
	source, target := l.source(x.from, ""), l.target(x.to)
	s, a = l.documents("", "none", []transfer{x}, []*server{source}, []*server{target})
	s.Lanes, a.Lanes = 4, 4
	s.Connect = &spec.Connect{Identity: identity(l.t)}
	a.Direct = &spec.Direct{Addresses: []string{"127.0.0.1"}, Certificate: s.Connect.Identity.Certificate}
	return s, a, func() {
		l.t.Helper()
		source.stop()
		target.stop()
		l.same(x.from, x.to)
	}
}

func TestStrangersDoNotDisturbADirectConnection(t *testing.T) {
	l := newLab(t)
	s, a, same := direct(l)
	apply := start(t, session.Apply, a)
	ready := apply.awaitReady()
	for range 100 { // they say nothing; more than are let into a handshake
		c, err := net.Dial("tcp", ready.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Log(err)
		}
		_ = c.Close()
	}
	// One that knows where, and has a key, but not the right one.
	stranger := s
	stranger.Listen = l.path("stranger.sock")
	stranger.Connect = &spec.Connect{Addresses: []string{ready.Address}, Certificate: ready.Certificate, Identity: identity(t)}
	p := start(t, session.Serve, stranger)
	if got := p.awaitReady(); got.Connected && p.stopped() {
		t.Error("a stranger was let in")
	}
	s.Connect.Addresses, s.Connect.Certificate = []string{ready.Address}, ready.Certificate
	serve := start(t, session.Serve, s)
	if ready := serve.awaitReady(); !ready.Connected {
		t.Fatal(ready.Why)
	}
	serve.done()
	apply.done()
	same()
	_ = p.stdin.Close()
	if ev := p.last(); ev.Event != spec.EventFailed {
		t.Errorf("a stranger's stream ended with %+v", ev)
	}
}

// stopped tells whether the session is over and was a success.
func (p *process) stopped() bool {
	select {
	case <-p.ended:
		return p.last().Event == spec.EventDone
	default:
		return false
	}
}

func TestSenderTrustsOneReceiverOnly(t *testing.T) {
	l := newLab(t)
	s, a, same := direct(l)
	apply := start(t, session.Apply, a)
	ready := apply.awaitReady()
	s.Connect.Addresses, s.Connect.Certificate = []string{ready.Address}, identity(t).Certificate
	serve := start(t, session.Serve, s)
	got := serve.awaitReady()
	if got.Connected || !strings.Contains(got.Why, "certificate") {
		t.Fatalf("got %+v", got)
	}
	// What is left is the way through the relay.
	for range 4 {
		relay(t, s.Listen, a.Listen)
	}
	serve.done()
	apply.done()
	same()
}

func TestUnreachableReceiverLeavesTheRelay(t *testing.T) {
	l := newLab(t)
	s, a, same := direct(l)
	a.Direct.Addresses = []string{"192.0.2.1"} // of nobody
	apply := start(t, session.Apply, a)
	if ready := apply.awaitReady(); ready.Address != "" || ready.Why == "" {
		t.Fatalf("got %+v", ready)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Connect.Addresses, s.Connect.Certificate = []string{closed.Addr().String()}, s.Connect.Identity.Certificate
	_ = closed.Close()
	serve := start(t, session.Serve, s)
	if ready := serve.awaitReady(); ready.Connected || !strings.Contains(ready.Why, "refused") {
		t.Fatalf("got %+v", ready)
	}
	for range 4 {
		relay(t, s.Listen, a.Listen)
	}
	serve.done()
	apply.done()
	same()
}

func TestLostLaneFailsBothEnds(t *testing.T) {
	l := newLab(t)
	const size = 64 * mib
	x := transfer{name: "vda", from: l.image("src", size, "write -q -P 1 0 64M"), to: l.image("dst", size), size: size}
	s, a := l.documents("", "none", []transfer{x}, []*server{l.source(x.from, "")}, []*server{l.target(x.to)})
	s.Lanes, a.Lanes = 3, 3
	serve, apply := start(t, session.Serve, s), start(t, session.Apply, a)
	serve.awaitReady()
	apply.awaitReady()
	var once sync.Once
	for range 3 {
		from, to := dial(t, s.Listen), dial(t, a.Listen)
		t.Cleanup(func() { _ = from.Close(); _ = to.Close() })
		go func() {
			buf := make([]byte, 64<<10)
			for n := 0; ; {
				k, err := from.Read(buf)
				if k > 0 {
					_, _ = to.Write(buf[:k])
				}
				if n += k; n > 4*mib {
					once.Do(func() { _ = from.Close(); _ = to.Close() })
				}
				if err != nil {
					_ = to.CloseWrite()
					return
				}
			}
		}()
	}
	serve.failed(spec.KindPeer, "")
	apply.failed(spec.KindPeer, "")
}

func TestLanesAreCounted(t *testing.T) {
	l := newLab(t)
	doc := serveDocument(l)
	for _, n := range []int{-1, 17} {
		doc.Lanes = n
		start(t, session.Serve, doc).failed(spec.KindSpec, "")
	}
}
