package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// capture reads what the checkpoint of a guest that was just made reads as, from the
// open backup's export, with a client that has nothing to do with vmsync.
func (r *round) capture(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	socket, err := r.exportSocket()
	if err != nil {
		return err
	}
	content := disksContent{}
	for _, d := range r.machine.disks {
		const file = "/var/tmp/faults-captured.raw"
		if _, err := r.c.hosta.Run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "raw", "nbd+unix:///"+d.Target+"?socket="+socket, file); err != nil {
			return err
		}
		raw, err := os.Open(r.c.hosta.Path(file))
		if err != nil {
			return err
		}
		content[d.Target], err = load(raw, r.machine.captured[d.Target])
		if err = errors.Join(err, raw.Close(), os.Remove(raw.Name())); err != nil {
			return err
		}
	}
	r.machine.captured = content
	r.pair.truth.current.content = content
	return nil
}

// exportSocket is where qemu serves the backup, as a path in the source. A killed
// qemu leaves its socket: the newest is the one.
func (r *round) exportSocket() (string, error) {
	const pattern = "/var/lib/libvirt/qemu/domain-*/vmsync-*.sock"
	root := strings.TrimSuffix(r.c.hosta.Path("/"), "/")
	found, err := filepath.Glob(root + pattern)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("no backup is open")
	}
	age := func(path string) int64 {
		st, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return st.ModTime().UnixNano()
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return int(age(a) - age(b)) })
	return strings.TrimPrefix(newest, root), nil
}
