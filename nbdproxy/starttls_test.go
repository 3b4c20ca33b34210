package nbdproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// serveTLS serves a disk to clients with certificates.
func serveTLS(t testing.TB, p *pki, b Backend) *served {
	t.Helper()
	return serve(t, Config{Exports: []Export{{Name: "vda", Backend: b, MultiConn: true}}, TLS: p.server(t)})
}

// secure upgrades the connection.
func (c *client) secure(config *tls.Config) {
	c.t.Helper()
	c.option(optStartTLS)
	c.expectReplies(optStartTLS, ack())
	conn := tls.Client(c.conn, config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		c.t.Fatalf("TLS handshake: %v", err)
	}
	c.conn = conn
}

func TestNothingIsToBeHadWithoutTLS(t *testing.T) {
	v := serveTLS(t, newPKI(t), newMemory(1<<20))
	for name, option := range map[string][]byte{
		"list":               message(optList, uint32(0)),
		"info":               message(optInfo, uint32(9), str("vda"), uint16(0)),
		"go":                 message(optGo, uint32(9), str("vda"), uint16(0)),
		"go, unknown export": message(optGo, uint32(9), str("vdx"), uint16(0)),
		"structured replies": message(optStructuredReply, uint32(0)),
		"contexts":           message(optListMetaContext, uint32(11), str("vda"), uint32(0)),
		"unknown option":     message(uint32(99), uint32(0)),
		"a long option":      message(optList, uint32(maxOptionLength+1), make([]byte, maxOptionLength+1)),
	} {
		t.Run(name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(3)
			c.send("IHAVEOPT", option)
			if r := c.optionReply(); r.typ != repErrTLSReqd {
				t.Errorf("the reply is %+v", r)
			}
			c.option(optAbort)
			c.expectReplies(optAbort, ack())
			c.expectEnd()
		})
	}
	t.Run("export by its name", func(t *testing.T) {
		for _, flags := range []uint32{0, 3} {
			c := v.dial(t)
			c.greet(flags)
			c.option(optExportName, "vda")
			c.expectEnd()
		}
	})
	t.Run("TLS in plain newstyle", func(t *testing.T) {
		c := v.dial(t)
		c.greet(0)
		c.option(optStartTLS)
		c.expectEnd()
	})
}

func TestEverythingIsToBeHadWithTLS(t *testing.T) {
	p := newPKI(t)
	m := newMemory(64 << 20)
	content := pattern(20 << 20)
	m.WriteAt(content, 0)
	c := serveTLS(t, p, m).dial(t)
	c.greet(3)
	c.option(optStartTLS, "data")
	c.expectReplies(optStartTLS, repError(repErrInvalid))
	c.secure(p.client(t))
	c.option(optStartTLS)
	c.expectReplies(optStartTLS, repError(repErrInvalid)) // once is enough
	c.option(optList)
	c.expectReplies(optList, optionReply{typ: repServer, data: string(str("vda"))}, ack())
	c.structured()
	c.selectContexts("vda", baseAllocation)
	if _, flags := c.goTo("vda"); flags&flagSendDF == 0 {
		t.Errorf("flags %#x", flags)
	}
	c.request(0, cmdRead, 1, 77, 300<<10)
	c.expectChunk(replyFlagDone, replyOffsetData, 1, uint64(77), content[77:77+300<<10])
	c.request(0, cmdWrite, 2, 30<<20, 3<<20, content[:3<<20])
	c.expectSimple(2, 0)
	c.request(cmdFlagDF, cmdRead, 3, 30<<20, 1<<20)
	c.expectChunk(replyFlagDone, replyOffsetData, 3, uint64(30<<20), content[:1<<20])
	c.request(0, cmdBlockStatus, 4, 20<<20, 10<<20)
	c.expectChunk(replyFlagDone, replyBlockStatus, 4, uint32(0), uint32(10<<20), uint32(3))
	c.disconnect()
}

// Who can write into the connection before TLS begins must not be able to say
// anything in the name of the client behind it.
func TestBytesSmuggledBehindSTARTTLSAreNotObeyed(t *testing.T) {
	p := newPKI(t)
	v := serveTLS(t, p, newMemory(1<<20))
	smuggled := message("IHAVEOPT", optStructuredReply, uint32(0))
	t.Run("in the clear", func(t *testing.T) {
		c := v.dial(t)
		c.greet(3)
		c.send("IHAVEOPT", optStartTLS, uint32(0), smuggled, "IHAVEOPT", optList, uint32(0))
		c.expectReplies(optStartTLS, ack())
		c.conn.SetReadDeadline(time.Now().Add(patience))
		rest, _ := io.ReadAll(c.conn) // perhaps an alert, perhaps a reset
		if bytes.Contains(rest, message(uint64(0x3e889045565a9))) {
			t.Errorf("the smuggled options were answered: %x", rest)
		}
	})
	t.Run("before a real TLS handshake", func(t *testing.T) {
		c := v.dial(t)
		c.greet(3)
		c.send("IHAVEOPT", optStartTLS, uint32(0), smuggled)
		c.expectReplies(optStartTLS, ack())
		c.conn.SetDeadline(time.Now().Add(patience))
		if err := tls.Client(c.conn, p.client(t)).Handshake(); err == nil {
			t.Error("TLS began although bytes were smuggled in")
		}
	})
}

// State from before TLS could only be an attacker's. None can come about while
// TLS is required; should that change, this is what keeps it out.
func TestSTARTTLSForgetsWhatWasAgreed(t *testing.T) {
	p := newPKI(t)
	v := serveTLS(t, p, newMemory(1<<20))
	ours, theirs := net.Pipe()
	defer ours.Close()
	h := &handshake{srv: v.Server, conn: theirs, negotiated: negotiated{
		structured: true, contexts: []string{baseAllocation}, contextsOf: v.exports[0],
	}}
	done := make(chan error)
	go func() { done <- h.startTLS(t.Context(), nil) }()
	c := &client{t: t, conn: ours}
	c.expectReplies(optStartTLS, ack())
	c.conn.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(ours, p.client(t)).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if h.structured || h.contexts != nil || h.contextsOf != nil {
		t.Errorf("kept %+v", h.negotiated)
	}
}

func TestClientsOfOtherAuthoritiesAreNotLetIn(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	v := serveTLS(t, p, newMemory(1<<20))
	for name, config := range map[string]*tls.Config{
		"no certificate":                 {RootCAs: p.ca, ServerName: "localhost"},
		"certificate of another":         {RootCAs: p.ca, ServerName: "localhost", Certificates: other.pair(t, "client")},
		"certificate of a server":        {RootCAs: p.ca, ServerName: "localhost", Certificates: p.pair(t, "server")},
		"TLS older than what is allowed": {RootCAs: p.ca, ServerName: "localhost", Certificates: p.pair(t, "client"), MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(3)
			c.option(optStartTLS)
			c.expectReplies(optStartTLS, ack())
			c.conn.SetDeadline(time.Now().Add(patience))
			conn := tls.Client(c.conn, config)
			// With TLS 1.3 a client may think that it is in until it hears more.
			if conn.Handshake() == nil {
				conn.Write(message("IHAVEOPT", optList, uint32(0)))
				if n, err := conn.Read(make([]byte, 1)); err == nil {
					t.Errorf("the client was let in and got %d bytes", n)
				}
			}
		})
	}
}
