package nbdproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for the server: it ends tests that would hang and is
// otherwise of no account.
const patience = 3 * time.Minute

// client is one side of a conversation with the server, byte by byte.
type client struct {
	t    testing.TB
	conn net.Conn
}

// send sends fields: numbers in network byte order, strings and bytes as they are.
func (c *client) send(fields ...any) {
	c.t.Helper()
	if err := c.trySend(fields...); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

func (c *client) trySend(fields ...any) error {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(message(fields...))
	return err
}

// message puts fields together.
func message(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b = append(b, f...)
		case []byte:
			b = append(b, f...)
		default:
			var err error
			if b, err = binary.Append(b, binary.BigEndian, f); err != nil {
				panic(err)
			}
		}
	}
	return b
}

// receive reads n bytes.
func (c *client) receive(n int) []byte {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, n)
	if got, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatalf("receiving %d bytes: %v after %x", n, err, b[:got])
	}
	return b
}

// expect reads exactly these fields.
func (c *client) expect(fields ...any) {
	c.t.Helper()
	want := message(fields...)
	if got := c.receive(len(want)); !bytes.Equal(got, want) {
		c.t.Fatalf("the server sent\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// expectEnd reads the end of the connection and nothing before it.
func (c *client) expectEnd() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(c.conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatalf("waiting for the end of the connection: %v", err)
	}
	if len(rest) > 0 {
		c.t.Fatalf("before the end of the connection the server sent\n%s", hex.Dump(rest))
	}
}

// greet exchanges flags.
func (c *client) greet(flags uint32) {
	c.t.Helper()
	c.expect("NBDMAGICIHAVEOPT", uint16(3))
	c.send(flags)
}

// option sends an option.
func (c *client) option(id uint32, data ...any) {
	c.t.Helper()
	b := message(data...)
	c.send("IHAVEOPT", id, uint32(len(b)), b)
}

// optionReply is one reply to an option.
type optionReply struct {
	option, typ uint32
	data        string
}

func (c *client) optionReply() optionReply {
	c.t.Helper()
	b := c.receive(20)
	if magic := binary.BigEndian.Uint64(b); magic != 0x3e889045565a9 {
		c.t.Fatalf("magic of an option's reply is %#x", magic)
	}
	r := optionReply{option: binary.BigEndian.Uint32(b[8:]), typ: binary.BigEndian.Uint32(b[12:])}
	r.data = string(c.receive(int(binary.BigEndian.Uint32(b[16:]))))
	return r
}

// expectReplies reads the replies to an option up to the last one. The message of an
// error is not looked at, but it has to be one.
func (c *client) expectReplies(option uint32, want ...optionReply) {
	c.t.Helper()
	for i, w := range want {
		got := c.optionReply()
		w.option = option
		if w.typ >= 1<<31 {
			if got.data == "" || strings.ContainsAny(got.data, "\n\x00") || len(got.data) > maxMessage {
				c.t.Fatalf("reply %d has the message %q", i, got.data)
			}
			got.data = w.data
		}
		if got != w {
			c.t.Fatalf("reply %d is %+v, want %+v", i, got, w)
		}
	}
}

// str is a string with its length in front.
func str(s string) []byte { return message(uint32(len(s)), s) }

// structured agrees on structured replies.
func (c *client) structured() {
	c.t.Helper()
	c.option(optStructuredReply)
	c.expectReplies(optStructuredReply, optionReply{typ: repAck})
}

// selectContexts selects metadata contexts of an export and returns how many there are.
func (c *client) selectContexts(export string, names ...string) {
	c.t.Helper()
	data := message(str(export), uint32(len(names)))
	for _, n := range names {
		data = append(data, str(n)...)
	}
	c.option(optSetMetaContext, data)
	for i, n := range names {
		c.expectReplies(optSetMetaContext, optionReply{typ: repMetaContext, data: string(message(uint32(i), n))})
	}
	c.expectReplies(optSetMetaContext, optionReply{typ: repAck})
}

// goTo enters transmission and returns the export's size and flags.
func (c *client) goTo(export string) (size uint64, flags uint16) {
	c.t.Helper()
	c.option(optGo, str(export), uint16(0))
	for {
		r := c.optionReply()
		switch {
		case r.typ == repAck:
			return size, flags
		case r.typ != repInfo:
			c.t.Fatalf("GO to %q was answered with %#x: %s", export, r.typ, r.data)
		case binary.BigEndian.Uint16([]byte(r.data)) == infoExport:
			size = binary.BigEndian.Uint64([]byte(r.data[2:]))
			flags = binary.BigEndian.Uint16([]byte(r.data[10:]))
		}
	}
}

// transmit leads a handshake to transmission, with structured replies or without.
func (v *served) transmit(t testing.TB, structured bool, contexts ...string) *client {
	t.Helper()
	c := v.dial(t)
	c.greet(3)
	if structured {
		c.structured()
	}
	if len(contexts) > 0 {
		c.selectContexts("", contexts...)
	}
	c.goTo("")
	return c
}

// request sends a request and its payload.
func (c *client) request(flags, typ uint16, handle, offset uint64, length uint32, payload ...any) {
	c.t.Helper()
	c.send(header(flags, typ, handle, offset, length), message(payload...))
}

func header(flags, typ uint16, handle, offset uint64, length uint32) []byte {
	return message(uint32(0x25609513), flags, typ, handle, offset, length)
}

// expectSimple reads a simple reply without a payload.
func (c *client) expectSimple(handle uint64, code uint32) {
	c.t.Helper()
	c.expect(uint32(0x67446698), code, handle)
}

// chunk is one chunk of a structured reply.
type chunk struct {
	flags, typ uint16
	handle     uint64
	payload    []byte
}

func (k chunk) String() string {
	return fmt.Sprintf("flags %d, type %#x, handle %d, %d bytes: %.64x", k.flags, k.typ, k.handle, len(k.payload), k.payload)
}

func (c *client) chunk() chunk {
	c.t.Helper()
	b := c.receive(20)
	if magic := binary.BigEndian.Uint32(b); magic != 0x668e33ef {
		c.t.Fatalf("magic of a chunk is %#x", magic)
	}
	k := chunk{
		flags:  binary.BigEndian.Uint16(b[4:]),
		typ:    binary.BigEndian.Uint16(b[6:]),
		handle: binary.BigEndian.Uint64(b[8:]),
	}
	k.payload = c.receive(int(binary.BigEndian.Uint32(b[16:])))
	return k
}

// expectChunk reads a chunk with these fields as its payload.
func (c *client) expectChunk(flags, typ uint16, handle uint64, payload ...any) {
	c.t.Helper()
	got, want := c.chunk(), chunk{flags, typ, handle, message(payload...)}
	if got.flags != want.flags || got.typ != want.typ || got.handle != want.handle || !bytes.Equal(got.payload, want.payload) {
		c.t.Fatalf("chunk is %v, want %v", got, want)
	}
}

// expectError reads a structured error and returns its message. at is nil for one without an
// offset.
func (c *client) expectError(handle uint64, code uint32, at *uint64) string {
	c.t.Helper()
	k := c.chunk()
	typ, tail := replyError, 0
	if at != nil {
		typ, tail = replyErrorOffset, 8
	}
	if k.typ != typ || k.handle != handle || len(k.payload) < 6+tail {
		c.t.Fatalf("chunk is %v, want an error of type %#x", k, typ)
	}
	n := int(binary.BigEndian.Uint16(k.payload[4:]))
	if got := binary.BigEndian.Uint32(k.payload); got != code || len(k.payload) != 6+n+tail {
		c.t.Fatalf("error is %d with a message of %d bytes in %d, want error %d", got, n, len(k.payload), code)
	}
	if at != nil {
		if got := binary.BigEndian.Uint64(k.payload[6+n:]); got != *at {
			c.t.Fatalf("error is at %d, want %d", got, *at)
		}
	}
	return string(k.payload[6 : 6+n])
}

// disconnect ends transmission and waits for the end of the connection.
func (c *client) disconnect() {
	c.t.Helper()
	c.request(0, cmdDisc, 0, 0, 0)
	c.expectEnd()
}
