package nbdproxy

import (
	"context"
	"encoding/binary"
)

// option answers one option. It returns the export if the handshake is over, and
// an error if the connection is.
func (h *handshake) option(ctx context.Context, id uint32, data []byte) (*export, error) {
	if !h.fixed && id != optExportName {
		return nil, violationf("option %d from a client without fixed newstyle negotiation", id)
	}
	if id == optAbort {
		h.ack(id)
		h.flush() // the client need not wait for it
		return nil, errAborted
	}
	if h.srv.tls != nil && !h.secured && id != optStartTLS {
		if id == optExportName {
			return nil, violation("an export was asked for without TLS")
		}
		h.refuse(id, repErrTLSReqd, "this server requires TLS")
		return nil, nil
	}
	if data == nil {
		if id == optExportName {
			return nil, violation("the name of an export is too long")
		}
		h.refuse(id, repErrTooBig, "option of more than %d bytes", maxOptionLength)
		return nil, nil
	}
	switch id {
	case optExportName:
		return h.exportName(string(data))
	case optInfo, optGo:
		return h.infoOrGo(id, data), nil
	case optStartTLS:
		return nil, h.startTLS(ctx, data)
	case optList:
		h.list(data)
	case optStructuredReply:
		h.structuredReply(data)
	case optListMetaContext, optSetMetaContext:
		h.metaContext(id, data)
	default:
		h.refuse(id, repErrUnsup, "option %d is not supported", id)
	}
	return nil, nil
}

// withoutData refuses options that should have no data but have some.
func (h *handshake) withoutData(id uint32, data []byte) bool {
	if len(data) > 0 {
		h.refuse(id, repErrInvalid, "option %d has no data", id)
	}
	return len(data) == 0
}

func (h *handshake) list(data []byte) {
	if !h.withoutData(optList, data) {
		return
	}
	for _, x := range h.srv.exports {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(x.Name)))
		b = append(b, x.Name...)
		h.reply(optList, repServer, append(b, x.Description...))
	}
	h.ack(optList)
}

func (h *handshake) structuredReply(data []byte) {
	if !h.withoutData(optStructuredReply, data) {
		return
	}
	h.structured = true
	h.ack(optStructuredReply)
}
