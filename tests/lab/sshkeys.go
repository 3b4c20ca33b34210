package lab

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyPair is an OpenSSH key as it stands in files.
type keyPair struct{ private, public string }

// sshKeys are a lab's keys: one that all its roots log in with, one per host.
type sshKeys struct {
	user keyPair
	host map[string]keyPair
}

func newKeyPair(comment string) (keyPair, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode ssh key: %w", err)
	}
	sp, err := ssh.NewPublicKey(pub)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode ssh key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sp)))
	return keyPair{private: string(pem.EncodeToMemory(block)), public: line + " " + comment + "\n"}, nil
}

func newSSHKeys(hosts []string) (*sshKeys, error) {
	user, err := newKeyPair("root@lab")
	if err != nil {
		return nil, err
	}
	k := &sshKeys{user: user, host: map[string]keyPair{}}
	for _, h := range hosts {
		if k.host[h], err = newKeyPair(h); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func (k *sshKeys) knownHosts(hosts []string) string {
	var b strings.Builder
	for i, h := range hosts {
		fmt.Fprintf(&b, "%s,%s %s", h, address(i), k.host[h].public)
	}
	return b.String()
}
