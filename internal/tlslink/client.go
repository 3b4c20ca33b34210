package tlslink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"vmsync/internal/deadpeer"
	"vmsync/internal/pki"
)

// Dialer connects to one server. Its methods may be called from several goroutines.
type Dialer struct {
	Host string // name or address, which the server's certificate has to be for
	Port int
	// Dir is the folder with the authority's and the client's certificate and the client's
	// key, see [pki.Client]. They are read for each connection.
	Dir string
}

// Dial makes a connection for a purpose. An error is an [*Error], unless ctx has ended.
func (d Dialer) Dial(ctx context.Context, r Request) (*tls.Conn, Reply, error) {
	config, own, err := d.config()
	if err != nil {
		return nil, Reply{}, err
	}
	tcp := net.Dialer{Timeout: patience, KeepAliveConfig: deadpeer.KeepAlive()}
	raw, err := tcp.DialContext(ctx, "tcp", net.JoinHostPort(d.Host, strconv.Itoa(d.Port)))
	if err != nil {
		return nil, Reply{}, d.explain(ctx, err, own)
	}
	watched, err := deadpeer.Cut(raw.(*net.TCPConn))
	if err != nil {
		_ = raw.Close()
		return nil, Reply{}, d.explain(ctx, err, own)
	}
	conn := tls.Client(watched, config)
	reply, err := ask(ctx, conn, r)
	if err == nil && reply.Refused != "" {
		err = refusedError(reply.Refused)
	}
	if err != nil {
		_ = conn.Close()
		return nil, Reply{}, d.explain(ctx, err, own)
	}
	return conn, reply, nil
}

// config reads the certificates.
func (d Dialer) config() (*tls.Config, *x509.Certificate, error) {
	config, err := pki.Client(d.Dir, d.Host)
	if err != nil {
		return nil, nil, &Error{Problem: "the certificates of this host: " + err.Error(), Advice: adviceOwn, Err: err}
	}
	own := config.Certificates[0].Leaf
	if now := time.Now(); now.After(own.NotAfter) || now.Before(own.NotBefore) {
		return nil, nil, &Error{Problem: "the certificate of this host, " + filepath.Join(d.Dir, "client-cert.pem") + " of " + pki.Describe(own) +
			", is not valid now", Advice: "have the authority issue a new one: vmsync tls issue " + own.Subject.CommonName + " --client"}
	}
	config.NextProtos = []string{alpn}
	config.DynamicRecordSizingDisabled = true
	return config, own, nil
}

// ask shakes hands and says what the connection is for.
func ask(ctx context.Context, conn *tls.Conn, r Request) (reply Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return reply, err
	}
	if conn.ConnectionState().NegotiatedProtocol != alpn {
		return reply, errOther
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() })
	if err = writeLine(conn, r); err == nil {
		err = readLine(conn, &reply)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return reply, err
}
