package nbdproxy

import (
	"encoding/binary"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// infoRequest is the data of INFO and GO.
type infoRequest struct {
	name  string
	wants map[uint16]bool
}

func parseInfoRequest(data []byte) (infoRequest, bool) {
	f := fields{rest: data}
	r := infoRequest{name: f.string(), wants: map[uint16]bool{}}
	for range f.uint16() {
		if f.bad {
			break
		}
		r.wants[f.uint16()] = true
	}
	return r, f.end()
}

// infoOrGo describes an export; with GO it returns it, for transmission to begin.
func (h *handshake) infoOrGo(id uint32, data []byte) *export {
	r, ok := parseInfoRequest(data)
	if !ok {
		h.refuse(id, repErrInvalid, "malformed request for information")
		return nil
	}
	x := findExport(h.srv.exports, r.name)
	if x == nil {
		h.refuse(id, repErrUnknown, "no export is named %q", r.name)
		return nil
	}
	if id == optGo {
		if err := h.takePlace(x); err != nil {
			h.refuse(id, repErrPolicy, "%v", err)
			return nil
		}
	}
	h.info(id, protocol.NegotiationReplyInfo{Type: infoExport, Size: x.size, TransmissionFlags: h.flagsOf(x)}, "")
	if r.wants[infoName] {
		h.info(id, protocol.NegotiationReplyNameHeader{Type: infoName}, x.Name)
	}
	if r.wants[infoDescription] && x.Description != "" {
		h.info(id, protocol.NegotiationReplyDescriptionHeader{Type: infoDescription}, x.Description)
	}
	// Whoever did not ask should still know what will be refused.
	h.info(id, protocol.NegotiationReplyBlockSize{
		Type:               infoBlockSize,
		MinimumBlockSize:   x.BlockSizes.Minimum,
		PreferredBlockSize: x.BlockSizes.Preferred,
		MaximumBlockSize:   x.BlockSizes.Maximum,
	}, "")
	h.ack(id)
	if id != optGo {
		return nil
	}
	return x
}

// info adds an information reply: one of go-nbd's structures and what follows it.
func (h *handshake) info(id uint32, fixed any, text string) {
	b, _ := binary.Append(nil, binary.BigEndian, fixed)
	h.reply(id, repInfo, append(b, text...))
}

// flagsOf returns the transmission flags of an export on this connection.
func (h *handshake) flagsOf(x *export) uint16 {
	if h.structured {
		return x.flags | flagSendDF
	}
	return x.flags
}

// exportName is how old clients choose an export. There is no way to refuse but to
// end the connection.
func (h *handshake) exportName(name string) (*export, error) {
	x := findExport(h.srv.exports, name)
	if x == nil {
		return nil, violationf("no export is named %q", printable(name))
	}
	if err := h.takePlace(x); err != nil {
		return nil, err
	}
	h.out = binary.BigEndian.AppendUint64(h.out, x.size)
	h.out = binary.BigEndian.AppendUint16(h.out, h.flagsOf(x))
	if !h.noZeroes {
		h.out = append(h.out, make([]byte, 124)...)
	}
	return x, nil
}

// takePlace asks the server to let the connection into transmission.
func (h *handshake) takePlace(x *export) error {
	p, err := h.srv.places.take(guaranteeFor(x, h.structured))
	h.place = p
	return err
}
