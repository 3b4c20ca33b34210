package nbdproxy

import (
	"context"
	"crypto/tls"
	"fmt"
)

// startTLS puts TLS between the client and all that follows. What was agreed on
// before, perhaps with somebody between, is forgotten.
func (h *handshake) startTLS(ctx context.Context, data []byte) error {
	switch {
	case h.srv.tls == nil:
		h.refuse(optStartTLS, repErrPolicy, "this server has no TLS")
		return nil
	case h.secured:
		h.refuse(optStartTLS, repErrInvalid, "TLS is in use already")
		return nil
	case !h.withoutData(optStartTLS, data):
		return nil
	}
	h.ack(optStartTLS)
	if err := h.flush(); err != nil {
		return err
	}
	conn := tls.Server(h.conn, h.srv.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	h.conn, h.secured = conn, true
	h.negotiated = negotiated{}
	return nil
}
