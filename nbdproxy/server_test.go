package nbdproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConfigurationThatCannotBeServedIsRefused(t *testing.T) {
	disk := func() *memory { return newMemory(1 << 20) }
	named := func(name string) Export { return Export{Name: name, Backend: disk()} }
	sized := func(size int64, b BlockSizes) Config {
		return Config{Exports: []Export{{Name: "x", Backend: newMemory(size), BlockSizes: b}}}
	}
	limited := func(l Limits) Config { return Config{Exports: []Export{named("x")}, Limits: l} }
	contexts := func(names ...string) Config {
		return Config{Exports: []Export{{Name: "x", Backend: &manyContexts{disk(), names}}}}
	}
	for _, test := range []struct {
		name   string
		config Config
		want   string // part of the error; empty if there is none
	}{
		{"no exports", Config{}, "no exports"},
		{"one export", Config{Exports: []Export{named("x")}}, ""},
		{"one without a name", Config{Exports: []Export{named("")}}, ""},
		{"the second without a name", Config{Exports: []Export{named("x"), named("")}}, "empty name"},
		{"the same name twice", Config{Exports: []Export{named("x"), named("y"), named("x")}}, `"x": the name is taken`},
		{"the longest name", Config{Exports: []Export{named(strings.Repeat("x", 4096))}}, ""},
		{"too long a name", Config{Exports: []Export{named(strings.Repeat("x", 4097))}}, "name is not"},
		{"a name with NUL", Config{Exports: []Export{named("x\x00")}}, "name is not"},
		{"a name that is not UTF-8", Config{Exports: []Export{named("\xff")}}, "name is not"},
		{"too long a description", Config{Exports: []Export{{Name: "x", Description: strings.Repeat("x", 4097), Backend: disk()}}}, "description is not"},
		{"no backend", Config{Exports: []Export{{Name: "x"}}}, "no backend"},
		{"a backend without a size", Config{Exports: []Export{{Name: "x", Backend: sizeless{disk()}}}}, "its size: input/output error"},
		{"a negative size", sized(-1, BlockSizes{}), "its size is -1"},
		{"size 0", sized(0, BlockSizes{}), ""},

		{"block sizes", sized(1<<20, BlockSizes{512, 4096, 1 << 20}), ""},
		{"minimum 0", sized(1<<20, BlockSizes{0, 4096, 1 << 20}), "minimum"},
		{"minimum not a power of two", sized(1<<20, BlockSizes{3, 4096, 3 << 18}), "minimum"},
		{"minimum too large", sized(1<<20, BlockSizes{128 << 10, 128 << 10, 1 << 20}), "minimum"},
		{"preferred below 512", sized(1<<20, BlockSizes{1, 256, 1 << 20}), "preferred"},
		{"preferred below the minimum", sized(1<<20, BlockSizes{4096, 512, 1 << 20}), "preferred"},
		{"preferred not a power of two", sized(1<<20, BlockSizes{1, 4095, 1 << 20}), "preferred"},
		{"maximum 0", sized(0, BlockSizes{1, 4096, 0}), "maximum"},
		{"maximum above what is served", sized(1<<20, BlockSizes{1, 4096, 32<<20 + 1}), "maximum"},
		{"maximum not of blocks", sized(1<<20, BlockSizes{512, 4096, 4097}), "maximum"},
		{"maximum below the preferred size", sized(1<<20, BlockSizes{512, 4096, 2048}), "maximum"},
		{"maximum below the preferred size, of a small export", sized(2048, BlockSizes{512, 4096, 2048}), ""},
		{"size not of blocks", sized(1<<20+1, BlockSizes{512, 4096, 1 << 20}), "multiple of its minimum"},

		{"context without a namespace", contexts("allocation"), "NAMESPACE:NAME"},
		{"context with an empty namespace", contexts(":allocation"), "NAMESPACE:NAME"},
		{"context with an empty name", contexts("base:"), "NAMESPACE:NAME"},
		{"the same context twice", contexts("x-a:b", "x-a:b"), "twice"},
		{"too long a context", contexts("x-a:" + strings.Repeat("b", 4096)), "metadata context is not"},

		{"negative limits", limited(Limits{Requests: -1}), "must be positive"},
		{"too many requests", limited(Limits{Requests: 1025}), "too many"},
		{"little memory for a connection", limited(Limits{ConnectionMemory: 31 << 20}), "too few for a connection"},
		{"little memory for all", limited(Limits{Memory: 95 << 20}), "too few for 64 connections"},
		{"just enough memory for all", limited(Limits{Memory: 96 << 20}), ""},
	} {
		_, err := NewServer(test.config)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

type sizeless struct{ *memory }

func (sizeless) Size() (int64, error) { return 0, unix.EIO }

// wearyListener fails in ways that pass before it accepts, and for good after that.
type wearyListener struct {
	net.Listener
	errs []error
}

func (l *wearyListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, errors.New("worn out")
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	if err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptSurvivesShortages(t *testing.T) {
	v := serveDisk(t, newMemory(1<<20))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	weary := &wearyListener{l, []error{unix.EMFILE, &net.OpError{Op: "accept", Err: unix.ECONNABORTED}, nil, unix.ENFILE, nil}}
	done := make(chan error)
	go func() { done <- v.Serve(t.Context(), weary) }()
	for range 2 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, conn: conn}
		c.greet(3)
		c.option(optAbort)
		c.expectReplies(optAbort, ack())
		conn.Close()
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "worn out") {
		t.Errorf("Serve returned %v", err)
	}
}

func TestConnectionsBeyondTheHandshakesAreClosed(t *testing.T) {
	v := serve(t, Config{Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}}, Limits: Limits{Handshakes: 1}})
	half := v.dial(t)
	half.expect("NBDMAGICIHAVEOPT", uint16(3))
	v.dial(t).expectEnd()
	half.conn.Close()
	waitForFree(t, v.Server)
	v.transmit(t, true).disconnect()
}

func TestHandshakeThatTakesTooLongEnds(t *testing.T) {
	p := newPKI(t)
	v := serve(t, Config{
		Exports: []Export{{Name: "vda", Backend: newMemory(1 << 20)}},
		TLS:     p.server(t),
		Limits:  Limits{HandshakeTime: 50 * time.Millisecond},
	})
	for _, say := range [][]byte{
		nil,
		{0, 0, 0},
		message(uint32(3), "IHAVE"),
		message(uint32(3), "IHAVEOPT", optList, uint32(100), "less than that"),
		message(uint32(3), "IHAVEOPT", optStartTLS, uint32(0)),
		message(uint32(3), "IHAVEOPT", optStartTLS, uint32(0), "\x16\x03\x01\x02\x00"), // a record that never comes
	} {
		c := v.dial(t)
		c.conn.Write(say)
		c.conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c.conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a client that said %q and no more is still there", say)
		}
	}
	waitForFree(t, v.Server)
}
