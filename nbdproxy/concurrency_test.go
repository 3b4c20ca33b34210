package nbdproxy

import (
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// gate is a disk whose reads wait: each says its offset and goes on when told.
type gate struct {
	*memory
	arrived chan int64
	open    chan struct{}
}

func newGate(size int64) *gate {
	return &gate{memory: newMemory(size), arrived: make(chan int64, 1<<16), open: make(chan struct{})}
}

func (g *gate) ReadAt(p []byte, offset int64) (int, error) {
	g.arrived <- offset
	<-g.open
	return g.memory.ReadAt(p, offset)
}

func TestRepliesOvertakeEachOther(t *testing.T) {
	g := newGate(1 << 20)
	c := serveDisk(t, g).transmit(t, false)
	c.request(0, cmdRead, 1, 0, 512)
	<-g.arrived
	c.request(0, cmdFlush, 2, 0, 0) // while the read is under way
	c.expectSimple(2, 0)
	close(g.open)
	c.expectSimple(1, 0)
	c.expect(make([]byte, 512))
	c.disconnect()
}

func TestAsManyRequestsAsTheLimitAreUnderWay(t *testing.T) {
	const limit = 7
	g := newGate(1 << 20)
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: g}}, Limits: Limits{Requests: limit}})
	c := v.transmit(t, false)
	for i := range limit + 5 {
		c.request(0, cmdRead, uint64(i), uint64(i)*512, 512)
	}
	for range limit {
		<-g.arrived
	}
	// Those beyond the limit are not even read: nothing arrives until one is done.
	other := v.transmit(t, false)
	other.request(0, cmdFlush, 1, 0, 0)
	other.expectSimple(1, 0)
	if n := len(g.arrived); n != 0 {
		t.Errorf("%d requests beyond the limit of %d", n, limit)
	}
	close(g.open)
	seen := map[uint64]bool{}
	for range limit + 5 {
		b := c.receive(16 + 512)
		seen[binary.BigEndian.Uint64(b[8:])] = true
	}
	if len(seen) != limit+5 {
		t.Errorf("replies to %v", seen)
	}
	c.disconnect()
	other.disconnect()
}

func TestDisconnectWaitsForRepliesUnderWay(t *testing.T) {
	g := newGate(1 << 20)
	g.memory.WriteAt(pattern(4096), 0)
	c := serveDisk(t, g).transmit(t, true)
	for i := range 8 {
		c.request(0, cmdRead, uint64(i), uint64(i)*512, 512)
	}
	c.request(0, cmdDisc, 0, 0, 0)
	for range 8 {
		<-g.arrived
	}
	close(g.open)
	content, seen := g.memory.content(), map[uint64]bool{}
	for range 8 {
		k := c.chunk()
		at := k.handle * 512
		if string(k.payload[8:]) != string(content[at:at+512]) {
			t.Errorf("wrong bytes at %d", at)
		}
		seen[k.handle] = true
	}
	if len(seen) != 8 {
		t.Errorf("replies to %v", seen)
	}
	c.expectEnd()
}

func TestWritesUnderWayAreDoneWhenTheClientVanishes(t *testing.T) {
	m := newMemory(1 << 20)
	arrived, open := make(chan struct{}), make(chan struct{})
	v := serveDisk(t, &broken{memory: m, write: func(p []byte, offset int64) (int, error) {
		close(arrived)
		<-open
		return m.WriteAt(p, offset)
	}})
	c := v.transmit(t, false)
	c.request(0, cmdWrite, 1, 0, 3, "abc")
	<-arrived
	c.conn.Close()
	close(open)
	v.stop()
	if err := <-v.done; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if got := string(m.content()[:3]); got != "abc" {
		t.Errorf("the disk begins with %q", got)
	}
}

func TestVanishedClientGivesItsPlaceBack(t *testing.T) {
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}, Limits: Limits{Connections: 1, Handshakes: 1}})
	for range 20 {
		c := v.transmit(t, false)
		c.request(0, cmdRead, 1, 0, 4096)
		c.expectSimple(1, 0)
		c.conn.Close()
		waitForFree(t, v.Server)
	}
}

func TestServeEndsConnectionsWithItsContext(t *testing.T) {
	g := newGate(1 << 20)
	v := serveDisk(t, g)
	idle := v.transmit(t, true)
	haggling := v.dial(t)
	haggling.greet(3)
	silent := v.dial(t)
	silent.expect("NBDMAGICIHAVEOPT", uint16(3))
	busy := v.transmit(t, false)
	busy.request(0, cmdRead, 1, 0, 512)
	<-g.arrived
	v.stop()
	for _, c := range []*client{idle, haggling, silent, busy} {
		c.expectEnd()
	}
	select {
	case <-v.done:
		t.Error("Serve returned while the backend was being read")
	default:
	}
	close(g.open)
	if err := <-v.done; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := net.Dial("unix", v.socket); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeAnswersItsClientsWhenTheListenerFails(t *testing.T) {
	s, err := NewServer(Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}})
	if err != nil {
		t.Fatal(err)
	}
	v := &served{Server: s, socket: filepath.Join(t.TempDir(), "nbd.sock")}
	l, err := net.Listen("unix", v.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), l) }()
	c := v.transmit(t, false)
	l.Close()
	c.request(0, cmdFlush, 1, 0, 0)
	c.expectSimple(1, 0)
	select {
	case err := <-done:
		t.Fatalf("Serve returned with a client left: %v", err)
	default:
	}
	c.disconnect()
	if err := <-done; err == nil {
		t.Error("Serve did not say that the listener failed")
	}
}

func TestOneServerServesSeveralListeners(t *testing.T) {
	m := newMemory(1 << 20)
	v := serveDisk(t, m)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- v.Serve(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tcp := &client{t: t, conn: conn}
	tcp.greet(3)
	tcp.goTo("vda")
	tcp.request(0, cmdWrite, 1, 0, 3, "abc")
	tcp.expectSimple(1, 0)
	unix := v.transmit(t, false)
	unix.request(0, cmdRead, 2, 0, 3)
	unix.expectSimple(2, 0)
	unix.expect("abc")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	tcp.expectEnd()
	unix.disconnect() // is of the other listener, and goes on until now
}

func TestClientBeyondTheLimitIsToldSo(t *testing.T) {
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}, Limits: Limits{Connections: 2}})
	a, b := v.transmit(t, true), v.transmit(t, true)
	c := v.dial(t)
	c.greet(3)
	c.option(optGo, str("vda"), uint16(0))
	c.expectReplies(optGo, repError(repErrPolicy))
	old := v.dial(t)
	old.greet(3)
	old.option(optExportName, "vda")
	old.expectEnd()
	a.disconnect()
	waitFor(t, "the place", func() bool { v.places.mu.Lock(); defer v.places.mu.Unlock(); return v.places.free == 1 })
	c.goTo("vda") // asks again, and is let in
	b.disconnect()
	c.disconnect()
	waitForFree(t, v.Server)
}

// A client without structured replies gets long reads in one piece, and so needs
// memory for them from the beginning.
func TestClientWithoutStructuredRepliesNeedsMemoryForItsLongestRead(t *testing.T) {
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(64 << 20)}}, Limits: Limits{Connections: 3, Memory: (3 + 40) << 20}})
	simple := v.transmit(t, false)
	c := v.dial(t)
	c.greet(3)
	c.option(optGo, str("vda"), uint16(0))
	c.expectReplies(optGo, repError(repErrPolicy))
	c.structured()
	c.goTo("vda")
	c.disconnect()
	simple.request(0, cmdRead, 1, 0, 32<<20)
	simple.expectSimple(1, 0)
	simple.receive(32 << 20)
	simple.disconnect()
	waitForFree(t, v.Server)
}

// Many connections with many requests each leave nothing behind and mix nothing up.
func TestManyClientsAtOnceReadWhatTheyWrote(t *testing.T) {
	m := newMemory(64 << 20)
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: m, MultiConn: true}}, Limits: Limits{Requests: 4}})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			c := v.transmit(t, n%2 == 0)
			base := uint64(n) * 8 << 20
			for i := range 64 {
				length := 1 + (i*7919+n*104729)%(100<<10)
				want := pattern(length)
				want[length-1] = byte(n + 1)
				c.request(0, cmdWrite, uint64(i), base, uint32(length), want)
				c.expectSimple(uint64(i), 0)
				c.request(0, cmdRead, uint64(i), base, uint32(length))
				if n%2 == 0 {
					c.expectChunk(replyFlagDone, replyOffsetData, uint64(i), base, want)
				} else {
					c.expectSimple(uint64(i), 0)
					c.expect(want)
				}
			}
			c.disconnect()
		})
	}
	wg.Wait()
	waitForFree(t, v.Server)
}
