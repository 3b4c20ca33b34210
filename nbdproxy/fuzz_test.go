package nbdproxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// script is a connection to a client that says what it has to say and hangs up. It takes all
// replies.
type script struct {
	in     io.Reader
	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.out.Write(p)
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// fuzzServer has small disks and small limits, which are reached soon.
func fuzzServer(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer(Config{
		Exports: []Export{
			{Name: "vda", Description: "first", Backend: newMemory(256 << 10), MultiConn: true},
			{Name: "vdb", Backend: newMemory(3 << 20), ReadOnly: true, BlockSizes: BlockSizes{512, 4096, 2 << 20}},
			{Name: "vdc", Backend: able{newMemory(256 << 10), Features{Zero: true}}},
		},
		Limits: Limits{Connections: 2, Requests: 4, ConnectionMemory: 32 << 20, Memory: 40 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkFree fails if a connection that is over still holds anything.
func checkFree(t *testing.T, s *Server) {
	t.Helper()
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	if s.places.free != s.limits.Connections || s.places.memory != s.limits.Memory-int64(s.limits.Connections)*segment {
		t.Fatalf("%d places and %d bytes are free", s.places.free, s.places.memory)
	}
}

// FuzzHandshake says anything in a handshake. Whatever the server answers is a
// sequence of whole replies, up to where transmission begins.
func FuzzHandshake(f *testing.F) {
	f.Fuzz(func(t *testing.T, say []byte) {
		s := fuzzServer(t)
		conn := &script{in: bytes.NewReader(say)}
		h := &handshake{srv: s, conn: conn}
		a, err := h.run(t.Context())
		if h.place != nil {
			h.place.giveBack()
		}
		if err == nil && a.export == nil {
			t.Fatal("transmission without an export")
		}
		if len(a.contexts) > 0 && !a.structured {
			t.Fatal("contexts without structured replies")
		}
		checkHandshakeOutput(t, conn.out.Bytes(), err == nil)
		checkFree(t, s)
	})
}

// checkHandshakeOutput takes apart what the server said.
func checkHandshakeOutput(t *testing.T, out []byte, transmits bool) {
	t.Helper()
	out, ok := bytes.CutPrefix(out, message("NBDMAGICIHAVEOPT", uint16(3)))
	if !ok {
		t.Fatalf("greeting %x", out)
	}
	last := uint32(0)
	for len(out) >= 20 && binary.BigEndian.Uint64(out) == 0x3e889045565a9 {
		n := 20 + int(binary.BigEndian.Uint32(out[16:]))
		last = binary.BigEndian.Uint32(out[12:])
		if n > len(out) || n > 20+2*maxString+16 {
			t.Fatalf("reply of %d bytes, %d are there", n, len(out))
		}
		out = out[n:]
	}
	switch {
	case len(out) == 0 && (!transmits || last == repAck):
	case transmits && (len(out) == 10 || len(out) == 134): // to the option of old clients
	default:
		t.Fatalf("after the replies %x", out)
	}
}

// FuzzTransmission says anything in transmission. What comes back are whole
// replies, and the connection gives everything back. mode chooses the export and what was
// agreed on. What a backend does not offer is never asked of it.
func FuzzTransmission(f *testing.F) {
	f.Fuzz(func(t *testing.T, mode byte, say []byte) {
		s := fuzzServer(t)
		a := agreement{export: s.exports[mode&1], structured: mode&2 != 0}
		if mode&8 != 0 {
			a.export = s.exports[2]
		}
		if mode&4 != 0 && a.structured {
			a.contexts = a.export.contexts
		}
		p, err := s.places.take(guaranteeFor(a.export, a.structured))
		if err != nil {
			t.Fatal(err)
		}
		conn := &script{in: bytes.NewReader(say)}
		adm := newAdmission(s.limits, p, &s.buffers)
		newTransmission(a, conn, s.limits, adm, &s.scratch, &failures{log: slog.New(slog.DiscardHandler)}).run(t.Context())
		p.giveBack()
		if adm.held != 0 || len(adm.free)+adm.spare != s.limits.Requests {
			t.Fatalf("%d bytes are held, %d jobs are back and %d unused of %d", adm.held, len(adm.free), adm.spare, s.limits.Requests)
		}
		checkFree(t, s)
		if n := s.exports[2].Backend.(able).counted(); n.trims+n.caches+n.syncs > 0 || n.fast {
			t.Fatalf("asked of a backend that cannot: %+v", n)
		}
		if a.structured {
			checkReplies(t, conn.out.Bytes())
		}
	})
}

// checkReplies takes apart what the server replied. It may end anywhere, since the
// client hung up.
func checkReplies(t *testing.T, out []byte) {
	t.Helper()
	for len(out) >= 20 {
		switch binary.BigEndian.Uint32(out) {
		case 0x67446698:
			out = out[16:]
		case 0x668e33ef:
			n := uint64(20 + binary.BigEndian.Uint32(out[16:]))
			if n > 20+8+segment {
				t.Fatalf("chunk of %d bytes", n)
			}
			if flags, typ := binary.BigEndian.Uint16(out[4:]), binary.BigEndian.Uint16(out[6:]); flags > 1 || typ&^(replyError|replyErrorOffset|7) != 0 {
				t.Fatalf("chunk with flags %#x of type %#x", flags, typ)
			}
			out = out[min(n, uint64(len(out))):]
		default:
			t.Fatalf("no reply: %.40x", out)
		}
	}
}
