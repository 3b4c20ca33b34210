package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// KeyError is a private key that cannot be used.
type KeyError struct {
	Path string
	// Passphrase is set when the key is fine but protected, and no agent holds it.
	Passphrase bool
	Err        error
}

func (e *KeyError) Error() string {
	if e.Passphrase {
		return fmt.Sprintf("key %s is protected by a passphrase and no SSH agent holds it: run %s in this session "+
			"(with SSH_AUTH_SOCK set), or give a key without passphrase with --ssh-key",
			e.Path, Quote([]string{"ssh-add", e.Path}))
	}
	return fmt.Sprintf("key %s cannot be used: %v", e.Path, e.Err)
}

func (e *KeyError) Unwrap() error { return e.Err }

// identities are the keys to offer, in order.
type identities struct {
	signers  []ssh.Signer
	problems []error // why other keys are not among them

	closeOnce sync.Once
	agentConn net.Conn
}

// close ends the connection to the agent; the agent's keys cannot sign afterwards.
func (ids *identities) close() {
	ids.closeOnce.Do(func() {
		if ids.agentConn != nil {
			ids.agentConn.Close()
		}
	})
}

func (ids *identities) methods() []ssh.AuthMethod {
	if len(ids.signers) == 0 {
		return nil
	}
	return []ssh.AuthMethod{ssh.PublicKeys(ids.signers...)}
}

// gatherIdentities collects keys from keyFile, the settings and the agent. Servers
// cut off after a few keys, so what the user named comes first: keyFile, then
// IdentityFile, the agent's other keys, and default files last. A key that is in
// the agent too is used through the agent.
func gatherIdentities(ctx context.Context, s *settings, keyFile string) (*identities, error) {
	ids := &identities{}
	held := ids.askAgent(ctx, s.identityAgent)

	certificates := loadCertificates(s, keyFile)

	add := func(signer ssh.Signer) {
		for _, have := range ids.signers {
			if samePublicKey(have.PublicKey(), signer.PublicKey()) {
				return
			}
		}
		for _, cert := range certificates {
			if samePublicKey(cert.Key, signer.PublicKey()) {
				if certified, err := ssh.NewCertSigner(cert, signer); err == nil {
					ids.signers = append(ids.signers, certified)
				}
			}
		}
		ids.signers = append(ids.signers, signer)
	}
	addAgents := func() {
		if !s.identitiesOnly {
			for _, signer := range held {
				add(signer)
			}
		}
	}
	if keyFile != "" {
		signer, err := loadKey(keyFile, held)
		if err != nil {
			ids.close()
			return nil, err
		}
		add(signer)
	}
	if !s.explicitIdentities {
		addAgents()
	}
	for _, path := range s.identityFiles {
		signer, err := loadKey(path, held)
		switch {
		case err == nil:
			add(signer)
		case s.explicitIdentities || !errors.Is(err, fs.ErrNotExist):
			ids.problems = append(ids.problems, err)
		}
	}
	addAgents()
	return ids, nil
}

// askAgent returns the keys an agent holds; none if it cannot be reached.
func (ids *identities) askAgent(ctx context.Context, socket string) []ssh.Signer {
	if socket == "" {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: DefaultConnectTimeout}).DialContext(ctx, "unix", socket)
	if err != nil {
		ids.problems = append(ids.problems, fmt.Errorf("SSH agent: %w", err))
		return nil
	}
	ids.agentConn = conn
	stop := context.AfterFunc(ctx, ids.close)
	defer stop()
	held, err := agent.NewClient(conn).Signers()
	if err != nil {
		ids.problems = append(ids.problems, fmt.Errorf("SSH agent %s: %w", socket, err))
	}
	return held
}

// maxKeyFile bounds the size of a private key file, in bytes.
const maxKeyFile = 1 << 20

// loadKey returns a signer for a private key file, the agent's if it holds the key.
// Its errors are *KeyError.
func loadKey(path string, held []ssh.Signer) (ssh.Signer, error) {
	text, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, &KeyError{Path: path, Err: err}
	}
	signer, err := ssh.ParsePrivateKey(text)
	var public ssh.PublicKey
	var protected *ssh.PassphraseMissingError
	switch {
	case err == nil:
		public = signer.PublicKey()
	case errors.As(err, &protected) && protected.PublicKey != nil:
		public = protected.PublicKey
	default:
		// A key in hardware, in an old protected format, or a public key named to
		// pick one of the agent's.
		public = publicHalf(path, text)
	}
	if public != nil {
		for _, h := range held {
			if samePublicKey(h.PublicKey(), public) {
				return h, nil
			}
		}
	}
	if err != nil {
		return nil, &KeyError{Path: path, Passphrase: protected != nil, Err: err}
	}
	return signer, nil
}

// loadCertificates reads the certificates named in the settings and those that lie
// beside keys, as ssh-keygen puts them. What is missing or none is passed over.
func loadCertificates(s *settings, keyFile string) []*ssh.Certificate {
	paths := slices.Clone(s.certificateFiles)
	for _, key := range append([]string{keyFile}, s.identityFiles...) {
		paths = append(paths, key+"-cert.pub")
	}
	var certificates []*ssh.Certificate
	for _, path := range paths {
		text, err := readBounded(path, maxKeyFile)
		if err != nil {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(text)
		if cert, ok := key.(*ssh.Certificate); ok && err == nil {
			certificates = append(certificates, cert)
		}
	}
	return certificates
}

// publicHalf returns the public key that text is, or that lies beside path; nil if
// neither.
func publicHalf(path string, text []byte) ssh.PublicKey {
	if key, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return key
	}
	text, err := readBounded(path+".pub", maxKeyFile)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func samePublicKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// explain makes the error of a login that was refused.
func (ids *identities) explain(s *settings, host string, err error) error {
	hint := fmt.Sprintf("%d keys were offered for user %s", len(ids.signers), s.user)
	switch len(ids.signers) {
	case 0:
		hint = fmt.Sprintf("there is no key to offer for user %s; name one with --ssh-key", s.user)
	case 1:
		hint = fmt.Sprintf("the key %s was offered for user %s; is it in that user's authorized_keys there?",
			ssh.FingerprintSHA256(ids.signers[0].PublicKey()), s.user)
	}
	var b strings.Builder
	b.WriteString(hint)
	for _, p := range ids.problems {
		fmt.Fprintf(&b, "; %v", p)
	}
	return &ConnectError{Op: OpAuth, Host: host, Hint: b.String(),
		Err: &authError{err: err, problems: ids.problems}}
}

// authError lets errors.As find the keys that could not be used.
type authError struct {
	err      error
	problems []error
}

func (e *authError) Error() string {
	return strings.TrimPrefix(e.err.Error(), "ssh: handshake failed: ssh: ")
}

func (e *authError) Unwrap() []error { return append([]error{e.err}, e.problems...) }
