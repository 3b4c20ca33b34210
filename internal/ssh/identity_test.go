package ssh

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyOfTheAgentIsUsed(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost, `IdentityAgent "`+startAgent(t, s.userKey)+`"`)
	works(t, connect(t, s.target(), o))
}

func TestAgentOfTheEnvironmentIsUsed(t *testing.T) {
	s := startServer(t)
	t.Setenv("SSH_AUTH_SOCK", startAgent(t, s.userKey))
	o := clientConfig(t, s.knownHost, "IdentityAgent SSH_AUTH_SOCK")
	works(t, connect(t, s.target(), o))
}

func TestIdentitiesOnlyHidesTheAgentsOtherKeys(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost, "IdentityAgent "+startAgent(t, s.userKey), "IdentitiesOnly yes")
	_, err := Dial(t.Context(), s.target(), o)
	var c *ConnectError
	if !errors.As(err, &c) || c.Op != OpAuth {
		t.Fatal(err)
	}
	o = clientConfig(t, s.knownHost, "IdentityAgent "+startAgent(t, s.userKey), "IdentitiesOnly yes",
		"IdentityFile "+s.userKey)
	works(t, connect(t, s.target(), o))
}

func TestDefaultKeyFileIsUsed(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost)
	o.home = t.TempDir()
	text := readFile(t, o.ConfigFile)
	writeFile(t, o.ConfigFile, strings.ReplaceAll(text, "IdentityFile none", ""))
	writeFile(t, filepath.Join(o.home, ".ssh/id_ed25519"), readFile(t, s.userKey))
	works(t, connect(t, s.target(), o))
}

func TestKeyOfTheUserIsOfferedBeforeTheAgentsKeys(t *testing.T) {
	s := startServer(t, "MaxAuthTries 2")
	dir := t.TempDir()
	var others []string
	for _, name := range []string{"a", "b", "c", "d"} {
		path := filepath.Join(dir, name)
		writeKey(t, path, "")
		others = append(others, path)
	}
	o := clientConfig(t, s.knownHost, "IdentityAgent "+startAgent(t, others...))
	o.KeyFile = s.userKey
	works(t, connect(t, s.target(), o))
}

func TestProtectedKeyNamesItselfAndSSHAdd(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost)
	rewriteAsProtected(t, s.userKey)
	check := func(err error) {
		t.Helper()
		var key *KeyError
		if !errors.As(err, &key) || !key.Passphrase || key.Path != s.userKey {
			t.Fatal(err)
		}
		if !strings.Contains(err.Error(), "ssh-add "+s.userKey) {
			t.Errorf("%q does not say how to unlock the key", err)
		}
	}
	withKey := o
	withKey.KeyFile = s.userKey
	_, err := Dial(t.Context(), s.target(), withKey)
	check(err)

	_, err = Dial(t.Context(), s.target(), clientConfig(t, s.knownHost, "IdentityFile "+s.userKey))
	check(err)
}

func TestProtectedKeyIsUsedThroughTheAgent(t *testing.T) {
	s := startServer(t)
	socket := startAgent(t, s.userKey)
	rewriteAsProtected(t, s.userKey)
	o := clientConfig(t, s.knownHost, "IdentityAgent "+socket, "IdentitiesOnly yes")
	o.KeyFile = s.userKey
	works(t, connect(t, s.target(), o))
}

func TestUnusableKeyFileIsAnError(t *testing.T) {
	for name, path := range map[string]string{
		"missing":   "/nonexistent/key",
		"not a key": writeFile(t, filepath.Join(t.TempDir(), "key"), "hello"),
		"endless":   "/dev/zero",
	} {
		t.Run(name, func(t *testing.T) {
			o := clientConfig(t, "")
			o.KeyFile = path
			_, err := Dial(t.Context(), Target{Host: "127.0.0.1"}, o)
			var key *KeyError
			if !errors.As(err, &key) || key.Path != path || key.Passphrase {
				t.Fatal(err)
			}
		})
	}
}

func TestRefusedLoginSaysWhatWasOffered(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost, "IdentityFile /nonexistent/other")
	o.KeyFile = filepath.Join(t.TempDir(), "stranger")
	writeKey(t, o.KeyFile, "")
	_, err := Dial(t.Context(), s.target(), o)
	var c *ConnectError
	if !errors.As(err, &c) || c.Op != OpAuth {
		t.Fatal(err)
	}
	for _, want := range []string{"root", "SHA256:", "authorized_keys", "/nonexistent/other"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not mention %s", err, want)
		}
	}
}
