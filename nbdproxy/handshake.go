package nbdproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// errAborted is how a handshake ends that the client ended properly.
var errAborted = errors.New("the client ended the handshake")

// violation is the error of a client that broke a rule of the protocol for which
// there is no reply but the end of the connection.
type violation string

func (v violation) Error() string { return string(v) }

func violationf(format string, args ...any) error { return violation(fmt.Sprintf(format, args...)) }

// agreement is what a handshake led to.
type agreement struct {
	export     *export
	structured bool     // replies are structured
	contexts   []string // what block status reports; a context's id is its index
}

// handshake is the server's side of fixed newstyle negotiation with one client.
//
// It reads no byte beyond the message it is waiting for. So whatever a client, or
// somebody between, sends in the clear behind STARTTLS is read by TLS, which
// refuses it, and by nothing else.
type handshake struct {
	srv      *Server
	conn     net.Conn // with TLS once that is agreed
	out      []byte   // replies to the current option
	secured  bool     // TLS is in use
	fixed    bool
	noZeroes bool
	place    *place // in transmission; nil until it was granted
	negotiated
}

// negotiated is what options agreed on so far. STARTTLS forgets it.
type negotiated struct {
	structured bool
	contexts   []string
	contextsOf *export // that contexts were selected for; nil if none were
}

// run leads the handshake to its end. The caller bounds its time with the
// connection's deadline, and gives the place back.
func (h *handshake) run(ctx context.Context) (agreement, error) {
	if err := h.greet(); err != nil {
		return agreement{}, err
	}
	for range maxOptions {
		id, data, err := h.readOption()
		if err != nil {
			return agreement{}, err
		}
		x, err := h.option(ctx, id, data)
		if err != nil {
			return agreement{}, err
		}
		if err := h.flush(); err != nil {
			return agreement{}, err
		}
		if x != nil {
			return h.agreed(x), nil
		}
	}
	return agreement{}, violationf("more than %d options", maxOptions)
}

func (h *handshake) agreed(x *export) agreement {
	a := agreement{export: x, structured: h.structured}
	if h.contextsOf == x {
		a.contexts = h.contexts
	}
	return a
}

// greet exchanges flags.
func (h *handshake) greet() error {
	h.out, _ = binary.Append(h.out, binary.BigEndian, protocol.NegotiationNewstyleHeader{
		OldstyleMagic:  protocol.NEGOTIATION_MAGIC_OLDSTYLE,
		OptionMagic:    protocol.NEGOTIATION_MAGIC_OPTION,
		HandshakeFlags: flagFixedNewstyle | flagNoZeroes,
	})
	if err := h.flush(); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(h.conn, b[:]); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(b[:])
	if unknown := flags &^ (clientFixedNewstyle | clientNoZeroes); unknown != 0 {
		return violationf("unknown client flags %#x", unknown)
	}
	h.fixed = flags&clientFixedNewstyle != 0
	h.noZeroes = flags&clientNoZeroes != 0
	return nil
}

// readOption reads the next option. data is nil if it is longer than any option
// this server understands; then it was skipped.
func (h *handshake) readOption() (id uint32, data []byte, err error) {
	var b [16]byte
	if _, err := io.ReadFull(h.conn, b[:]); err != nil {
		return 0, nil, err
	}
	if magic := binary.BigEndian.Uint64(b[:]); magic != protocol.NEGOTIATION_MAGIC_OPTION {
		return 0, nil, violationf("wrong magic %#x of an option", magic)
	}
	id = binary.BigEndian.Uint32(b[8:])
	length := binary.BigEndian.Uint32(b[12:])
	switch {
	case length > maxOptionSkip:
		return 0, nil, violationf("option %d with %d bytes of data", id, length)
	case length > maxOptionLength:
		_, err := io.CopyN(io.Discard, h.conn, int64(length))
		return id, nil, err
	}
	data = make([]byte, length)
	_, err = io.ReadFull(h.conn, data)
	return id, data, err
}

// flush sends the replies.
func (h *handshake) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	_, err := h.conn.Write(h.out)
	h.out = h.out[:0]
	return err
}

// reply adds a reply to an option.
func (h *handshake) reply(option, typ uint32, data []byte) {
	h.out, _ = binary.Append(h.out, binary.BigEndian, protocol.NegotiationReplyHeader{
		ReplyMagic: protocol.NEGOTIATION_MAGIC_REPLY,
		ID:         option,
		Type:       typ,
		Length:     uint32(len(data)),
	})
	h.out = append(h.out, data...)
}

func (h *handshake) ack(option uint32) { h.reply(option, repAck, nil) }

// refuse adds an error reply with a message for a person.
func (h *handshake) refuse(option, typ uint32, format string, args ...any) {
	h.reply(option, typ, []byte(printable(fmt.Sprintf(format, args...))))
}
