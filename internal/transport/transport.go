// Package transport names the ways that a stream may travel from source to target. It is
// pure, and must never know how any of them works.
package transport

import "fmt"

// Transport is how the stream gets from source to target.
type Transport string

// Transports.
const (
	// Auto is direct where the hosts reach each other, SSH elsewhere.
	Auto Transport = "auto"
	// Direct is TLS from host to host.
	Direct Transport = "direct"
	// SSH goes through the controller and its SSH connections.
	SSH Transport = "ssh"
)

// Parse reads a transport; the empty string is [Auto].
func Parse(s string) (Transport, error) {
	switch t := Transport(s); t {
	case "":
		return Auto, nil
	case Auto, Direct, SSH:
		return t, nil
	}
	return "", fmt.Errorf("unknown transport %q: use auto, direct or ssh", s)
}
