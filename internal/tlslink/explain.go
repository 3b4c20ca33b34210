package tlslink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"vmsync/internal/pki"
)

// Error is why there is no connection, for people.
type Error struct {
	Problem string
	Advice  string // what to do, as a sentence without its full stop
	Err     error  // may be nil
}

func (e *Error) Error() string { return e.Problem }

func (e *Error) Unwrap() error { return e.Err }

const (
	adviceOwn = "have the authority issue them (vmsync tls issue NAME --client), or say where they are: --tls-dir, or tls_dir in the configuration"
	adviceLog = "the log there says more: journalctl -u vmsync-nbdproxy"
)

// errOther means that what answers speaks TLS but not our protocol.
var errOther = errors.New("what answers there is not vmsync, or another release of it")

// refusedError is the server's word on a client that it knows.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// explain puts a failed connection into words. Own is the certificate that the client
// shows.
func (d Dialer) explain(ctx context.Context, err error, own *x509.Certificate) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	where := fmt.Sprintf("%s, port %d", d.Host, d.Port)
	e := &Error{Problem: where + ": " + err.Error(), Advice: adviceLog, Err: err}
	var shown *tls.CertificateVerificationError
	var refused refusedError
	var op *net.OpError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &refused):
		e.Problem = d.Host + " refuses: " + string(refused)
		e.Advice = adviceLog
	case errors.As(err, &shown):
		e.Problem, e.Advice = d.explainServer(shown)
	case errors.As(err, &op) && op.Op == "remote error":
		e.Problem = fmt.Sprintf("%s does not take the certificate of this host, %s: %v", d.Host, pki.Describe(own), op.Err)
	case errors.As(err, &plain):
		e.Problem, e.Advice = where+": what answers there does not speak TLS", "look at the port"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Problem, e.Advice = where+": nobody listens there", "on that host: systemctl enable --now vmsync-nbdproxy.socket"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		e.Problem = where + ": the connection was closed before it was of use"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		e.Problem, e.Advice = where+": no answer", "look at the network and firewalls between here and there"
	}
	return e
}

// explainServer tells what is wrong with the server's certificate.
func (d Dialer) explainServer(err *tls.CertificateVerificationError) (problem, advice string) {
	shown := "that host shows no certificate"
	if len(err.UnverifiedCertificates) > 0 {
		shown = "that host shows the certificate of " + pki.Describe(err.UnverifiedCertificates[0])
	}
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	advice = "have the authority issue a certificate for it: vmsync tls issue " + d.Host + " --server"
	switch {
	case errors.As(err.Err, &invalid) && invalid.Reason == x509.Expired:
		return d.Host + ": " + shown + ", which is not valid now", advice
	case errors.As(err.Err, &authority):
		return d.Host + ": " + shown + ", which is not of the authority in " + d.Dir, "use certificates of one authority on both hosts"
	case errors.As(err.Err, &name):
		return d.Host + ": " + shown + ": " + err.Err.Error(), "call the host by a name in its certificate, or issue one with --address " + d.Host
	}
	return d.Host + ": " + shown + ": " + err.Err.Error(), advice
}
