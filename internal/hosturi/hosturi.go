// Package hosturi reads libvirt connection URIs as places: this host, or another that is
// reached through SSH, or through its vmsync-nbdproxy.socket over TLS. It is pure; it must never
// connect to what it reads, or look names up.
package hosturi

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
)

// TLSPort is where vmsync-nbdproxy.socket listens: the port beside NBD's.
const TLSPort = 10810

// Endpoint says where an end is.
type Endpoint struct {
	Local bool
	TLS   bool   // reached over TLS, not SSH; can only be a source
	User  string // empty: as SSH's configuration says
	Host  string
	Port  int // 0: as SSH's configuration says; always set with TLS
	// Name is how the user named it, for people.
	Name string
}

// Parse reads a libvirt connection URI as a place: qemu:///system is this
// host, qemu+ssh://[user@]host[:port]/system is another, and
// vmsync+tls://host[:port]/system one whose vmsync-nbdproxy.socket is asked. vmsync
// needs more of a host than libvirt's own remote protocol gives, so other transports
// are refused. That of libvirt's own TLS is: it has another port and other certificates.
func Parse(uri string) (Endpoint, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return Endpoint{}, fmt.Errorf("bad URI %q: %w", uri, err)
	}
	const forms = "use qemu:///system for this host, qemu+ssh://[user@]host[:port]/system for another, or vmsync+tls://host[:port]/system for a source without SSH"
	switch {
	case u.Path != "/system" && u.Path != "/system/":
		return Endpoint{}, fmt.Errorf("URI %q: only /system is supported; %s", uri, forms)
	case u.RawQuery != "":
		return Endpoint{}, fmt.Errorf("URI %q: parameters are not supported; SSH settings have flags and configuration keys of their own", uri)
	case u.User != nil && hasPassword(u):
		return Endpoint{}, fmt.Errorf("URI for %s: passwords are not supported; use keys", u.Host)
	case u.Scheme == "qemu" && u.Host == "":
		return Endpoint{Local: true, Name: "localhost"}, nil
	case u.Scheme == "qemu+ssh" && u.Hostname() != "":
		port, err := portOf(u)
		return Endpoint{User: u.User.Username(), Host: u.Hostname(), Port: port, Name: u.Hostname()}, err
	case u.Scheme == "vmsync+tls" && u.Hostname() != "":
		if u.User != nil {
			return Endpoint{}, fmt.Errorf("URI %q: over TLS a certificate says who the user is: leave out %s@", uri, u.User.Username())
		}
		port, err := portOf(u)
		return Endpoint{TLS: true, Host: u.Hostname(), Port: cmp.Or(port, TLSPort), Name: u.Hostname()}, err
	case u.Scheme == "qemu+tls":
		return Endpoint{}, fmt.Errorf("URI %q: libvirt's own TLS does not give what vmsync needs of a host: "+
			"enable vmsync-nbdproxy.socket there and use vmsync+tls://%s/system", uri, u.Hostname())
	}
	return Endpoint{}, fmt.Errorf("URI %q is not supported; %s", uri, forms)
}

func portOf(u *url.URL) (int, error) {
	if u.Port() == "" {
		return 0, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("bad port %s for %s", u.Port(), u.Hostname())
	}
	return int(port), nil
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}
