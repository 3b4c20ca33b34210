package export

import (
	"net"
	"net/url"
	"os"
	"strings"
)

// unixURI leads to an export at a unix socket.
func unixURI(socket, name string) string {
	u := url.URL{Scheme: "nbd+unix", Host: "", Path: "/" + name}
	return "nbd+unix://" + u.EscapedPath() + "?socket=" + queryPath(socket)
}

// queryPath is a path as the value of a query, which libnbd and qemu take apart without the
// rules of web forms: a plus is no space to them.
func queryPath(path string) string {
	u := url.URL{Path: path}
	return strings.NewReplacer("&", "%26", ";", "%3B", "+", "%2B", "=", "%3D").Replace(u.EscapedPath())
}

// tcpURI leads to an export at an address. One that stands for all of this host's becomes
// the host's name.
func tcpURI(address, name string, tls bool) string {
	u := url.URL{Scheme: "nbd", Host: address, Path: "/" + name}
	if tls {
		u.Scheme = "nbds"
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			if self, err := os.Hostname(); err == nil {
				u.Host = net.JoinHostPort(self, port)
			}
		}
	}
	return u.String()
}

// uri leads clients to a disk.
func (e *export) uri(disk string) string {
	if e.req.Unix != "" {
		return unixURI(e.req.Unix, disk)
	}
	return tcpURI(e.front.address, disk, e.req.TLS != "")
}
