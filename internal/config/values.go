package config

import (
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/retention"
	"vmsync/internal/store"
	"vmsync/internal/units"
	"vmsync/nbdproxy/spec"
)

// Readers of single values. Their errors say what is wrong and what to do.

// day is as long as units has it.
const day = 24 * time.Hour

// none is how a key takes back what a layer below gives.
const none = "none"

// between reads lengths of time in a range, both ends included.
func between(least, most time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		d, err := units.ParseDuration(text)
		if err == nil && (d < least || d > most) {
			err = fmt.Errorf("%s is out of range: give %s to %s", text, units.FormatDuration(least), units.FormatDuration(most))
		}
		return d, err
	}
}

// number reads whole numbers in a range, both ends included.
func number(least, most int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%q is not a number from %d to %d: give one", text, least, most)
		}
		return n, nil
	}
}

// oneOf reads one of several words.
func oneOf[T ~string](words ...T) func(string) (T, error) {
	return func(text string) (T, error) {
		if !slices.Contains(words, T(text)) {
			all := make([]string, len(words))
			for i, w := range words {
				all[i] = string(w)
			}
			last := len(all) - 1
			return "", fmt.Errorf("%q is not known: use %s or %s", text, strings.Join(all[:last], ", "), all[last])
		}
		return T(text), nil
	}
}

func yesOrNo(text string) (bool, error) {
	switch text {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no: use one of them", text)
}

// absolute reads a path of this host or another.
func absolute(text string) (string, error) {
	if !filepath.IsAbs(text) || strings.ContainsFunc(text, unprintable) {
		return "", fmt.Errorf("%q is not an absolute path: write it from / on", text)
	}
	return filepath.Clean(text), nil
}

// plain reads any text of one line.
func plain(text string) (string, error) {
	if text == "" || strings.ContainsFunc(text, unprintable) || len(text) > 4096 {
		return "", fmt.Errorf("%q is empty, too long, or has more than one line: write a text of one line", text)
	}
	return text, nil
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

// name reads what something is called within the configuration.
func name(text string) (string, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(text) {
		return "", fmt.Errorf("%q is no name: use letters, digits, dots, dashes and underscores, at most 64", text)
	}
	return text, nil
}

// isPattern says whether a machine's name is a pattern.
func isPattern(text string) bool { return strings.ContainsAny(text, `*?[\`) }

// machine reads the name of a domain, or a pattern in the manner of path.Match.
func machine(text string) (string, error) {
	if isPattern(text) {
		if _, err := path.Match(text, ""); err != nil {
			return "", fmt.Errorf("%q is no pattern: close its bracket, as in web-[0-9]*", text)
		}
	}
	if err := store.CheckDomainName(text); err != nil || strings.ContainsFunc(text, unprintable) {
		return "", fmt.Errorf("%q is no name of a machine: give one as virsh list shows it, or a pattern like web-*", text)
	}
	return text, nil
}

// disk reads a disk's target device.
func disk(text string) (string, error) {
	if !regexp.MustCompile(`^[a-z][a-z0-9]{1,15}$`).MatchString(text) {
		return "", fmt.Errorf("%q is no disk: name it by its target device, as virsh domblklist shows it, like vda", text)
	}
	return text, nil
}

// keep reads a keep policy, and gives it in its shortest form.
func keep(text string) (string, error) {
	p, err := retention.Parse(text)
	return p.String(), err
}

func compression(text string) (string, error) {
	if text == "" {
		return "", errors.New("it is empty: use auto, none, s2, zstd or zstd:LEVEL")
	}
	_, err := spec.ParseCompression(text)
	return text, err
}

// address reads what to listen on.
func address(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = number(1, 65535)(port)
	}
	if err != nil || strings.ContainsFunc(host, unprintable) {
		return "", fmt.Errorf("%q is no address to listen on: write one like 127.0.0.1:9108", text)
	}
	return text, nil
}

// socket reads the path of a unix socket, which the kernel bounds.
func socket(text string) (string, error) {
	p, err := absolute(text)
	if err == nil && len(p) > 107 {
		err = fmt.Errorf("%q is longer than a socket's path may be, 107 bytes: choose a shorter one", text)
	}
	return p, err
}

func size(text string) (int64, error) {
	n, err := units.ParseSize(text)
	if err != nil {
		err = fmt.Errorf("%w: give one", err)
	}
	return n, err
}

func errReplicaName(text string) error {
	return fmt.Errorf("%q is no name for a replica: use {domain} and {source} for what varies, as in {domain}-replica", text)
}
