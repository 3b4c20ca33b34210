package tlslink

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"vmsync/internal/pki"
)

// soon is how long before its end somebody is told of a certificate; of one that is valid
// for less than four times that, when a quarter of its time is left.
const soon = 30 * 24 * time.Hour

// endsSoon tells whether a certificate is not valid for long any more.
func endsSoon(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(soon, c.NotAfter.Sub(c.NotBefore)/4)
}

// Expiring tells of the certificates that end soon of those that a connection goes by: the
// client's, the server's and the authority's. Each is a sentence without its full stop,
// with what to do.
func (d Dialer) Expiring(conn *tls.Conn, now time.Time) (said []string) {
	if _, own, err := d.config(); err == nil && endsSoon(own, now) {
		said = append(said, "the certificate of this host, of "+pki.Describe(own)+
			", ends soon: have the authority issue a new one: vmsync tls issue "+own.Subject.CommonName+" --client")
	}
	chains := conn.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return said
	}
	for i, c := range chains[0] {
		switch {
		case !endsSoon(c, now):
		case i == 0:
			said = append(said, d.Host+" shows the certificate of "+pki.Describe(c)+
				", which ends soon: have the authority issue a new one: vmsync tls issue "+d.Host+" --server")
		default:
			said = append(said, "the authority "+pki.Describe(c)+" ends soon: make a new one, and have it issue the certificates of both hosts: vmsync tls ca")
		}
	}
	return said
}
