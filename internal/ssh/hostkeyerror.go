package ssh

import "fmt"

// HostKeyKind says what is wrong with a host's key.
type HostKeyKind string

// What can be wrong with a host's key.
const (
	HostKeyUnknown   HostKeyKind = "unknown"   // the host is not in the known_hosts files, or not with this type of key
	HostKeyChanged   HostKeyKind = "changed"   // the host is known with another key
	HostKeyRevoked   HostKeyKind = "revoked"   // the key is marked @revoked
	HostKeyUntrusted HostKeyKind = "untrusted" // the host's certificate is not acceptable
)

// HostKeyError is a host whose key was not accepted. Nothing was sent to it.
type HostKeyError struct {
	Host        string // as in known_hosts: "name" or "[name]:port"
	Kind        HostKeyKind
	KeyType     string // e.g. "ssh-ed25519"
	Fingerprint string // "SHA256:…" of the key the host showed
	File        string // where the other key is (changed, revoked), or where a new one belongs
	Line        int    // line of File, from 1; 0 for unknown
	// Fix is the shell command that replaces or adds the key, to be run after the
	// fingerprint has been checked; empty if there is no such command.
	Fix string
	Err error
}

func (e *HostKeyError) Error() string { return e.Problem() + ": " + e.Advice() }

// Problem says what is wrong.
func (e *HostKeyError) Problem() string {
	key := fmt.Sprintf("%s %s", e.KeyType, e.Fingerprint)
	switch e.Kind {
	case HostKeyUnknown:
		return fmt.Sprintf("host %s is not known (it shows %s)", e.Host, key)
	case HostKeyChanged:
		return fmt.Sprintf("THE KEY OF HOST %s HAS CHANGED (it shows %s, another one is in %s line %d)", e.Host, key, e.File, e.Line)
	case HostKeyRevoked:
		return fmt.Sprintf("host %s shows a key that is marked as revoked in %s line %d (%s)", e.Host, e.File, e.Line, key)
	}
	return fmt.Sprintf("host %s shows a certificate that is not acceptable (%s): %v", e.Host, key, e.Err)
}

// Advice says what to do about it.
func (e *HostKeyError) Advice() string {
	switch e.Kind {
	case HostKeyUnknown:
		return "compare this fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub, at its console), then: " + e.Fix
	case HostKeyChanged:
		return "either the host was set up anew, or somebody intercepts the connection; " +
			"if it was set up anew and this fingerprint is its own, then: " + e.Fix
	case HostKeyRevoked:
		return "do not connect; give the host a new key"
	}
	return "have it signed anew, or check the @cert-authority line"
}

func (e *HostKeyError) Unwrap() error { return e.Err }
