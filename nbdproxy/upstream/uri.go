package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
)

// defaultPort is NBD's.
const defaultPort = "10809"

// ParseURI reads an NBD URI: nbd+unix:///EXPORT?socket=PATH or nbd://HOST[:PORT]/EXPORT.
func ParseURI(uri string) (Config, error) {
	c, err := parseURI(uri)
	if err != nil {
		return Config{}, fmt.Errorf("NBD URI %q: %w", uri, err)
	}
	return c, nil
}

func parseURI(uri string) (Config, error) {
	var c Config
	u, err := url.Parse(uri)
	if err != nil {
		return c, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, err
	}
	c.Export = strings.TrimPrefix(u.Path, "/")
	socket := query.Get("socket")
	switch {
	case u.Scheme == "nbds" || u.Scheme == "nbds+unix":
		return c, errors.New("TLS to a server is not supported: run the proxy on the server's host")
	case u.Scheme != "nbd" && u.Scheme != "nbd+unix":
		return c, errors.New("its scheme is neither nbd nor nbd+unix")
	case u.User != nil || u.Fragment != "" || u.Opaque != "":
		return c, errors.New("it has parts that mean nothing here")
	case strings.ContainsRune(c.Export, 0) || len(c.Export) > maxName:
		return c, fmt.Errorf("the name of the export has more than %d bytes, or one that is 0", maxName)
	case u.Scheme == "nbd":
		if len(query) > 0 || u.Hostname() == "" {
			return c, errors.New("want nbd://HOST:PORT/EXPORT")
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		c.Address = net.JoinHostPort(u.Hostname(), port)
		if _, _, err := net.SplitHostPort(c.Address); err != nil { // a host with a stray bracket
			return Config{}, err
		}
		return c, nil
	case u.Host != "" || len(query) != 1 || len(query["socket"]) != 1 || !filepath.IsAbs(socket) || strings.ContainsRune(socket, 0):
		return c, errors.New("want nbd+unix:///EXPORT?socket=PATH with an absolute path")
	}
	c.Socket = socket
	return c, nil
}
