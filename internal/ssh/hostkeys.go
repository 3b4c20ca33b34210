package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys checks the key of one host against the user's known hosts.
type hostKeys struct {
	settings *settings
	db       *knownhosts.HostKeyDB
	copies   map[string]string // original names of files that were read as a copy
	names    []string          // "host:port" under which the host may be known, best first
	ok       atomic.Bool
}

func openHostKeys(s *settings) (*hostKeys, error) {
	var files []string
	for _, f := range slices.Concat(s.userKnownHosts, s.globalKnownHosts) {
		if info, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // /dev/null is how some say "none"
		}
		files = append(files, f)
	}
	db, copies, err := loadKnownHosts(files)
	if err != nil {
		return nil, &ConfigError{Err: fmt.Errorf("known hosts: %w", err),
			Hint: "correct or remove that line"}
	}
	k := &hostKeys{settings: s, db: db, copies: copies}
	switch {
	case s.hostKeyAlias != "":
		k.names = []string{net.JoinHostPort(s.hostKeyAlias, "22")}
	case s.port != 22:
		// As ssh does: a key known for the host's name alone also counts.
		k.names = []string{s.address(), net.JoinHostPort(s.host, "22")}
	default:
		k.names = []string{s.address()}
	}
	return k, nil
}

// algorithms lists those of the keys by which the host is known, so that it shows
// one of them, then the others, so that a host which has none of them is told from
// one that does not speak SSH. Certificates are asked for only where an authority
// is known: a host that has one would otherwise show it instead of its plain key.
func (k *hostKeys) algorithms() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	var list []string
	add := func(a string) {
		if slices.Contains(supported, a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	for _, name := range k.names {
		for _, a := range k.db.HostKeyAlgorithms(name) {
			add(a)
		}
	}
	for _, a := range supported {
		if !strings.Contains(a, "-cert-") {
			add(a)
		}
	}
	return list
}

// accepted tells whether check has approved a key.
func (k *hostKeys) accepted() bool { return k.ok.Load() }

// check is an ssh.HostKeyCallback. The address comes from the settings instead of
// the connection, which may be a jump host's channel or a pipe.
func (k *hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	var first error
	for _, name := range k.names {
		err := k.db.HostKeyCallback()(name, &net.TCPAddr{IP: net.IPv4zero}, key)
		if err == nil {
			k.ok.Store(true)
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return k.explain(first, key)
}

// explain turns the library's verdict into an error that says what to do.
func (k *hostKeys) explain(err error, key ssh.PublicKey) error {
	e := &HostKeyError{
		Host:        xknownhosts.Normalize(k.names[0]),
		Kind:        HostKeyUntrusted,
		KeyType:     key.Type(),
		Fingerprint: ssh.FingerprintSHA256(key),
		Err:         err,
	}
	if len(k.settings.userKnownHosts) > 0 {
		e.File = k.settings.userKnownHosts[0]
	}
	var mismatch *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		e.Kind, e.File, e.Line = HostKeyRevoked, revoked.Revoked.Filename, revoked.Revoked.Line
	case errors.As(err, &mismatch):
		e.Kind = HostKeyUnknown
		for _, known := range mismatch.Want {
			// A key of another type says nothing about this one.
			if known.Key.Type() == key.Type() {
				e.Kind, e.File, e.Line = HostKeyChanged, known.Filename, known.Line
				break
			}
		}
	}
	if original, ok := k.copies[e.File]; ok {
		e.File = original
	}
	e.Fix = k.fix(e)
	return e
}

// fix is the command that makes the host known once its key has been checked.
func (k *hostKeys) fix(e *HostKeyError) string {
	s := k.settings
	var learn string
	if e.File == "" || s.hostKeyAlias != "" || len(s.jumps) > 0 || s.proxyCommand != "" {
		// ssh-keyscan reads no configuration; ssh asks, and writes the right name.
		argv := []string{"ssh", "-o", "StrictHostKeyChecking=ask"}
		if s.configFile != "" {
			argv = append(argv, "-F", s.configFile)
		}
		if s.knownHostsGiven {
			argv = append(argv, "-o", `UserKnownHostsFile="`+s.userKnownHosts[0]+`"`)
		}
		learn = Quote(append(argv, "-p", strconv.Itoa(s.port), "-l", s.user, s.alias, "true"))
	} else {
		argv := []string{"ssh-keyscan", "-H"}
		if s.port != 22 {
			argv = append(argv, "-p", strconv.Itoa(s.port))
		}
		argv = append(argv, "-t", keyscanType(e.KeyType), s.host)
		learn = Quote(argv) + " >> " + Quote([]string{s.userKnownHosts[0]})
	}
	switch e.Kind {
	case HostKeyChanged:
		return Quote([]string{"ssh-keygen", "-f", e.File, "-R", e.Host}) + " && " + learn
	case HostKeyUnknown:
		return learn
	}
	return ""
}

// keyscanType is ssh-keyscan's word for a type of key.
func keyscanType(keyType string) string {
	for _, t := range []string{"ed25519", "ecdsa", "rsa"} {
		if strings.Contains(keyType, t) {
			return t
		}
	}
	return "ed25519,ecdsa,rsa"
}
