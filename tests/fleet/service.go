package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/store"
	"vmsync/tests/lab"
)

const (
	storeDir   = "/srv/replicas"
	storeSize  = 3 << 30 // more than all disks with what is written meanwhile
	configFile = "/etc/vmsync/vmsync.yaml"
)

// install installs the package on all hosts.
func (f *fleet) install(ctx context.Context, deb string) error {
	for _, h := range f.lab.Hosts() {
		if err := h.CopyIn(deb, "/root/vmsync.deb"); err != nil {
			return err
		}
		if out, err := h.Run(ctx, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", "/root/vmsync.deb"); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	// A file system of its own, which can be filled.
	return f.target.SmallFS(ctx, storeDir, storeSize)
}

func (f *fleet) startService(ctx context.Context) error {
	if err := f.target.WriteFile(configFile, []byte(configText()), 0o600); err != nil {
		return err
	}
	if out, err := f.target.Run(ctx, "vmsync", "config", "check"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if out, err := f.target.Run(ctx, "systemctl", "enable", "--now", "vmsync"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// status asks the service how the machines stand, by name.
func (f *fleet) status(ctx context.Context) (map[string]api.Machine, error) {
	out, err := f.target.Run(ctx, "vmsync", "status", "--json")
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1 is a promise that is not kept
		return nil, err
	}
	all := map[string]api.Machine{}
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var m api.Machine
		if err := dec.Decode(&m); err != nil {
			return nil, err
		}
		all[m.Name] = m
	}
	return all, nil
}

// head is a replica's newest state as its manifest has it; nil without one.
func head(h *lab.Host, name string) (*store.State, error) {
	m, err := manifest(h, name)
	if err != nil {
		return nil, err
	}
	return m.Head(), nil
}

func manifest(h *lab.Host, name string) (*store.Manifest, error) {
	b, err := h.ReadFile(storeDir + "/" + name + "/manifest.json")
	if err != nil {
		return nil, err
	}
	m := &store.Manifest{}
	return m, json.Unmarshal(b, m)
}

// allReplicated waits until each machine has a replica.
func (f *fleet) allReplicated(ctx context.Context) error {
	return eventually(ctx, 4*time.Minute, "each machine has a replica", func() error {
		for _, m := range f.machines {
			if h, err := head(f.target, m.name); err != nil || h == nil {
				return fmt.Errorf("%s has none", m.name)
			}
		}
		return nil
	})
}

// eventually waits until f has no complaint, for a bounded time.
func eventually(ctx context.Context, limit time.Duration, what string, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v it is still not so that %s: %w", limit, what, err)
		}
		if !wait(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// evidence shows what may explain a failure.
func (f *fleet) evidence() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, argv := range [][]string{{"vmsync", "status"}, {"journalctl", "-u", "vmsync", "-o", "short-precise", "--no-pager", "-n", "400"}} {
		out, err := f.target.Run(ctx, argv...)
		fmt.Fprintf(f.out, "%s (%v):\n%s\n", strings.Join(argv, " "), err, out)
	}
}
