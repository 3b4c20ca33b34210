package nbdproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// serve leads one connection through its life and closes it. The caller has counted it
// among the handshakes.
func (s *Server) serve(ctx context.Context, raw net.Conn) {
	log := s.log.With("client", raw.RemoteAddr().String())
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()

	handshakeOver := sync.OnceFunc(func() { <-s.handshakes })
	defer handshakeOver()
	raw.SetDeadline(time.Now().Add(s.limits.HandshakeTime))
	h := &handshake{srv: s, conn: raw}
	a, err := h.run(ctx)
	if h.place != nil {
		defer h.place.giveBack()
	}
	if err != nil {
		h.conn.Close()
		logEnd(ctx, log, "handshake ended", err)
		return
	}
	raw.SetDeadline(time.Time{})
	handshakeOver()

	log = log.With("export", a.export.Name)
	log.Debug("transmission begins", "tls", h.secured, "structured", a.structured, "contexts", a.contexts, "peer", peerName(h.conn))
	f := &failures{log: log}
	adm := newAdmission(s.limits, h.place, &s.buffers)
	err = newTransmission(a, h.conn, s.limits, adm, &s.scratch, f).run(ctx)
	h.conn.Close()
	logEnd(ctx, log.With("failures", f.count.Load()), "transmission ended", err)
}

// logEnd tells the log why a connection ended. Only what a person may want to look
// into is more than debugging.
func logEnd(ctx context.Context, log *slog.Logger, message string, err error) {
	var v violation
	switch {
	case err == nil || errors.Is(err, errAborted) || errors.Is(err, io.EOF):
		log.Debug(message)
	case ctx.Err() != nil:
		log.Debug(message, "error", "the server ends")
	case errors.As(err, &v):
		log.Warn(message, "error", err)
	case errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed):
		log.Debug(message, "error", err)
	default:
		log.Warn(message, "error", err)
	}
}

// peerName returns the name in a client's certificate, or nothing.
func peerName(conn net.Conn) string {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return ""
	}
	certs := c.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return ""
	}
	return certs[0].Subject.String()
}
