package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"vmsync/tests/lab"
)

// orders is where the programs built with fault points read what to do.
const orders = "/run/vmsync-fault"

// holds are the points at which the programs of a sync stop until they are let go on.
// See internal/faultpoint.
type holds map[*lab.Host][]string

func holdFile(point string) string { return "/run/vmsync-held-" + point }

// arm makes programs on a host stop at a point.
func (h holds) arm(host *lab.Host, point string) error {
	h[host] = append(h[host], point)
	return h.write(host)
}

// disarm makes them pass it; who waits there goes on waiting.
func (h holds) disarm(host *lab.Host, point string) error {
	h[host] = slices.DeleteFunc(h[host], func(p string) bool { return p == point })
	return h.write(host)
}

func (h holds) write(host *lab.Host) error {
	var lines []string
	for _, p := range h[host] {
		lines = append(lines, p+"=hold:"+holdFile(p))
	}
	return host.WriteFile(orders, []byte(strings.Join(lines, "\n")), 0o644)
}

// waiting says whether a program waits at a point.
func (h holds) waiting(host *lab.Host, point string) bool {
	_, err := os.Stat(host.Path(holdFile(point)))
	return err == nil
}

// release lets it go on.
func (h holds) release(host *lab.Host, point string) error {
	err := os.Remove(host.Path(holdFile(point)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clear makes everything as if nothing had been armed, on the hosts that run.
func (h holds) clear() error {
	var errs []error
	for host, points := range h {
		if !host.Running() {
			continue // what is in its /run is gone
		}
		if err := os.Remove(host.Path(orders)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, p := range points {
			errs = append(errs, h.release(host, p))
		}
	}
	return errors.Join(errs...)
}
