package nbdproxy

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// flood sends reads of length bytes for as long as the server takes them, 65535 at most,
// and reads no reply.
func (c *client) flood(length uint32) {
	for i := range 65535 {
		if _, err := c.conn.Write(header(0, cmdRead, uint64(i), 0, length)); err != nil {
			return
		}
	}
}

// readBytes is how much of the backend was read: what the server admitted, for
// through a pipe it can send nothing.
func readBytes(m *memory) int64 { return m.counted().readBytes }

func TestClientThatReadsNoRepliesHoldsBoundedMemory(t *testing.T) {
	for _, test := range []struct {
		name       string
		structured bool
		length     uint32
		limits     Limits
		want       int64 // bytes that the backend is asked for, in all
	}{
		{"by the number of requests", true, 4096, Limits{Requests: 32}, 32 * 4096},
		{"by memory", true, segment, Limits{Requests: 64}, 32 << 20},
		{"by memory, of long requests", true, 32 << 20, Limits{Requests: 64}, 32 << 20},
		{"by memory, rounded to whole buffers", true, 600 << 10, Limits{Requests: 64}, 32 * 600 << 10},
		{"by memory, in one piece", false, 20 << 20, Limits{}, 20 << 20},
		{"by memory, in pieces", false, 8 << 20, Limits{}, 32 << 20},
		{"by memory for all", true, segment, Limits{Requests: 64, Connections: 10, Memory: 42 << 20}, 32 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory(64 << 20)
			p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: m}}, Limits: test.limits})
			hog := p.transmit(t, test.structured)
			var wg sync.WaitGroup
			wg.Go(func() { hog.flood(test.length) })
			waitFor(t, "the hog to be stopped", func() bool { return readBytes(m) >= test.want })

			// Another client does not notice, not even one that needs as much.
			other := p.transmit(t, true)
			for i := range 50 {
				other.request(0, cmdWrite, uint64(i), 0, segment, make([]byte, segment))
				other.expectSimple(uint64(i), 0)
				other.request(cmdFlagFUA, cmdFlush, uint64(i), 0, 0)
				other.expectSimple(uint64(i), 0)
			}
			other.disconnect()
			if got := readBytes(m); got != test.want {
				t.Errorf("the server read %d bytes for a client that takes none, want %d", got, test.want)
			}
			hog.conn.Close()
			wg.Wait()
			waitForFree(t, p.Server)
		})
	}
}

func TestManyClientsThatReadNoRepliesShareTheMemory(t *testing.T) {
	const hogs, sure = 8, 9 // connections, and how many are sure of a segment
	m := newMemory(64 << 20)
	const shared = 40 << 20
	p := servePipe(t, Config{
		Exports: []Export{{Name: "vda", Backend: m}},
		Limits:  Limits{Connections: sure, Memory: sure*segment + shared, Requests: 64},
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	for range hogs {
		c := p.transmit(t, true)
		wg.Go(func() { c.flood(segment) })
		defer c.conn.Close()
	}
	const most = hogs*segment + shared
	waitFor(t, "the hogs to be stopped", func() bool { return readBytes(m) >= most })
	other := p.transmit(t, true)
	for i := range 20 {
		other.request(0, cmdWrite, uint64(i), 0, 4*segment, pattern(4*segment))
		other.expectSimple(uint64(i), 0)
	}
	other.disconnect()
	if got := readBytes(m); got != most {
		t.Errorf("the server read %d bytes, want %d", got, most)
	}
}

func TestClientWithoutItsPayloadHoldsItsMemoryOnly(t *testing.T) {
	m := newMemory(1 << 20)
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: m}}})
	slow := p.transmit(t, false)
	slow.request(0, cmdWrite, 1, 0, 1<<20, "only this")
	other := p.transmit(t, false)
	other.request(0, cmdWrite, 1, 0, 4, "quick")
	other.disconnectEarly()
	slow.conn.Close()
	waitForFree(t, p.Server)
	if m.counted().writes != 1 {
		t.Errorf("%d writes: half a payload was written", m.counted().writes)
	}
}

// disconnectEarly reads what there is and closes, in step or not.
func (c *client) disconnectEarly() {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	c.conn.Read(make([]byte, 1024))
	c.conn.Close()
}

// waitForFree waits until nobody holds anything of the server.
func waitForFree(t testing.TB, s *Server) {
	t.Helper()
	waitFor(t, "everything to be given back", func() bool {
		s.places.mu.Lock()
		defer s.places.mu.Unlock()
		return len(s.handshakes) == 0 && s.places.free == s.limits.Connections &&
			s.places.memory == s.limits.Memory-int64(s.limits.Connections)*segment
	})
}

// conversation is a valid one with every option and request in it.
func conversation() []byte {
	option := func(id uint32, data ...any) []byte {
		b := message(data...)
		return message("IHAVEOPT", id, uint32(len(b)), b)
	}
	return message(
		uint32(3),
		option(optList),
		option(optStructuredReply),
		option(optStartTLS),
		option(optListMetaContext, str("vda"), uint32(1), str("qemu:")),
		option(optSetMetaContext, str("vda"), uint32(2), str(baseAllocation), str(dirtyBitmap)),
		option(optInfo, str("vda"), uint16(2), infoName, infoBlockSize),
		option(99, "unknown"),
		option(optGo, str("vda"), uint16(1), infoBlockSize),
		header(0, cmdRead, 1, 0, 512),
		header(cmdFlagDF, cmdRead, 2, 0, 4096),
		header(cmdFlagFUA, cmdWrite, 3, 512, 11), "some bytes.",
		header(0, cmdWriteZeroes, 4, 0, 65536),
		header(0, cmdTrim, 5, 0, 65536),
		header(0, cmdCache, 6, 0, 65536),
		header(0, cmdBlockStatus, 7, 0, 1<<20),
		header(0, cmdFlush, 8, 0, 0),
		header(0, cmdRead, 9, 0, 1<<20),
		header(0, cmdWrite, 10, 1<<20, 4), "far!",
		header(0, cmdDisc, 0, 0, 0),
	)
}

// converse sends what a client has to say, takes whatever comes, and hangs up when
// either side has no more.
func converse(p *pipe, t *testing.T, say []byte) {
	t.Helper()
	c := p.dial(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.conn.Read(b); err != nil {
				return
			}
		}
	})
	c.conn.SetDeadline(time.Now().Add(patience))
	c.conn.Write(say)
	c.conn.Close()
	wg.Wait()
}

func TestConversationCutAnywhereLeavesNothingBehind(t *testing.T) {
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}})
	all := conversation()
	for n := range all {
		converse(p, t, all[:n])
	}
	waitForFree(t, p.Server)
	p.transmit(t, true).disconnect()
}

func TestConversationWithAnyByteWrongLeavesNothingBehind(t *testing.T) {
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}})
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range conversation() {
		for _, flip := range []byte{0x80, byte(1 + rng.IntN(255))} {
			say := conversation()
			say[n] ^= flip
			converse(p, t, say)
		}
	}
	waitForFree(t, p.Server)
	p.transmit(t, true).disconnect()
}

func TestGarbageLeavesNothingBehind(t *testing.T) {
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}})
	rng := rand.NewChaCha8([32]byte{7})
	for n := range 200 {
		b := make([]byte, n*37)
		rng.Read(b)
		converse(p, t, b)
		converse(p, t, message(uint32(3), b))
		converse(p, t, message(uint32(3), "IHAVEOPT", optGo, uint32(6), uint32(0), uint16(0), b))
	}
	waitForFree(t, p.Server)
	p.transmit(t, true).disconnect()
}

func TestConversationByteByByteIsUnderstood(t *testing.T) {
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}})
	c := p.dial(t)
	drip := func(b []byte) {
		for i := range b {
			c.send(b[i : i+1])
		}
	}
	c.expect("NBDMAGICIHAVEOPT", uint16(3))
	drip(message(uint32(3)))
	drip(message("IHAVEOPT", optExportName, uint32(3), "vda"))
	c.expect(uint64(1<<20), flagsVda&^flagCanMultiConn)
	drip(header(0, cmdWrite, 1, 100, 5))
	drip([]byte("hello"))
	c.expectSimple(1, 0)
	drip(header(0, cmdRead, 2, 100, 5))
	c.expectSimple(2, 0)
	c.expect("hello")
	drip(header(0, cmdDisc, 0, 0, 0))
	c.expectEnd()
}

// deadlines keeps the deadlines that the server sets.
type deadlines struct {
	net.Conn
	mu  sync.Mutex
	set []time.Time
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.mu.Lock()
	d.set = append(d.set, at)
	d.mu.Unlock()
	return d.Conn.SetDeadline(at)
}

func TestHandshakeHasADeadlineAndTransmissionNone(t *testing.T) {
	p := servePipe(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}, Limits: Limits{HandshakeTime: time.Hour}})
	var d *deadlines
	p.wrap = func(c net.Conn) net.Conn { d = &deadlines{Conn: c}; return d }
	begin := time.Now()
	c := p.transmit(t, false)
	c.request(0, cmdFlush, 1, 0, 0)
	c.expectSimple(1, 0)
	c.disconnect()
	waitForFree(t, p.Server)
	if len(d.set) != 2 || d.set[0].Before(begin.Add(time.Hour)) || d.set[0].After(time.Now().Add(time.Hour)) || !d.set[1].IsZero() {
		t.Errorf("deadlines %v", d.set)
	}
}
