package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// maxKnownHosts bounds the size of a known_hosts file, in bytes.
const maxKnownHosts = 64 << 20

// loadKnownHosts reads known_hosts files. The library refuses a file for a single
// line that it does not understand, a key type of the past or the future, say;
// ssh skips such lines, and so the library is then given copies without them.
// Copies maps their names, which the library reports, to the originals'.
func loadKnownHosts(files []string) (db *knownhosts.HostKeyDB, copies map[string]string, err error) {
	db, err = knownhosts.NewDB(files...)
	if err == nil {
		return db, nil, nil
	}
	dir, mkdirErr := os.MkdirTemp("", "vmsync-known-hosts-")
	if mkdirErr != nil {
		return nil, nil, errors.Join(err, mkdirErr)
	}
	defer os.RemoveAll(dir)
	copies = map[string]string{}
	var readable []string
	for i, file := range files {
		text, err := readBounded(file, maxKnownHosts)
		if err != nil {
			return nil, nil, err
		}
		name := fmt.Sprintf("%s/%d", dir, i)
		if err := os.WriteFile(name, blankUnknownLines(text), 0o600); err != nil {
			return nil, nil, err
		}
		copies[name] = file
		readable = append(readable, name)
	}
	again, againErr := knownhosts.NewDB(readable...)
	if againErr != nil {
		return nil, nil, err // names the original's line
	}
	return again, copies, nil
}

// blankUnknownLines empties the lines that cannot be parsed, so that all others
// keep their number. A line that revokes a key is kept in any case: better no
// connection than one that its author meant to prevent.
func blankUnknownLines(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || bytes.HasPrefix(line, []byte("@revoked")) {
			continue
		}
		if _, _, _, _, _, err := ssh.ParseKnownHosts(line); err != nil {
			lines[i] = nil
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

func readBounded(path string, max int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > max {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, max)
	}
	return os.ReadFile(path)
}
