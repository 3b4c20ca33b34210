package ours

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// RemoveSockets removes the sockets of exports that a domain's qemu left when it was
// killed, and returns their paths. dir is libvirt's folder, with one folder in it for
// each run of a domain; that of a run which ended with the whole host stays there. A
// socket that somebody listens on is left alone.
func RemoveSockets(dir, domain string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "domain-*", socketPrefix+"*"+socketSuffix))
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, path := range found {
		if !isSocket(path) || !isRunFolder(filepath.Base(filepath.Dir(path)), domain) || !deaf(path) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove the socket of a dead sync: %w", err)
		}
		removed = append(removed, path)
	}
	return removed, nil
}

// RunFolder is libvirt's folder for the run with this ID of a domain, "" if there is
// none. Runs before the host's last crash may have left folders of the same ID.
func RunFolder(dir string, id uint, domain string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("domain-%d-*", id)))
	best := ""
	for _, path := range found {
		// Of names that fit, the longer one is less shortened.
		if isRunFolder(filepath.Base(path), domain) && len(path) > len(best) {
			best = path
		}
	}
	return best, err
}

// isRunFolder says whether libvirt's name for a folder, domain-ID-NAME, may be that of
// a run of the domain. Libvirt shortens the name.
func isRunFolder(folder, domain string) bool {
	rest, _ := strings.CutPrefix(folder, "domain-")
	_, name, ok := strings.Cut(rest, "-")
	return ok && name != "" && strings.HasPrefix(domain, name)
}

// deaf says whether a socket is there and nobody listens on it.
func deaf(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
