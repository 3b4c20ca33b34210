// Package hosturi reads libvirt connection URIs as places: this host, or another that is
// reached through SSH. It is pure; it must never connect to what it reads, or look names up.
package hosturi

import (
	"fmt"
	"net/url"
	"strconv"
)

// Endpoint says where an end is.
type Endpoint struct {
	Local bool
	User  string // empty: as SSH's configuration says
	Host  string
	Port  int // 0: as SSH's configuration says
	// Name is how the user named it, for people.
	Name string
}

// Parse reads a libvirt connection URI as a place: qemu:///system is this
// host, qemu+ssh://[user@]host[:port]/system is another. vmsync needs more of a
// host than libvirt's own remote protocol gives, so other transports are
// refused.
func Parse(uri string) (Endpoint, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return Endpoint{}, fmt.Errorf("bad URI %q: %w", uri, err)
	}
	const forms = "use qemu:///system for this host or qemu+ssh://[user@]host[:port]/system for another"
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
